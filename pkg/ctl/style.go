package ctl

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"charm.land/lipgloss/v2"
	"charm.land/lipgloss/v2/table"

	"ktrdr.io/fleet/pkg/api"
)

// Colours are of the terminal's own palette, so that they suit dark and light ones.
// lipgloss drops them where the output is no terminal, or NO_COLOR is set.
func good(text string) string { return lipgloss.NewStyle().Foreground(lipgloss.Green).Render(text) }

func busy(text string) string { return lipgloss.NewStyle().Foreground(lipgloss.Yellow).Render(text) }
func bad(text string) string  { return lipgloss.NewStyle().Foreground(lipgloss.Red).Render(text) }
func dim(text string) string  { return lipgloss.NewStyle().Faint(true).Render(text) }
func bold(text string) string { return lipgloss.NewStyle().Bold(true).Render(text) }

// columns lays rows out under their headers, without any lines.
func columns(headers []string, rows [][]string) string {
	t := table.New().Headers(headers...).Rows(rows...).Wrap(false).
		Border(lipgloss.HiddenBorder()).BorderTop(false).BorderBottom(false).BorderLeft(false).BorderRight(false).
		BorderHeader(false).BorderColumn(false).
		StyleFunc(func(row, col int) lipgloss.Style {
			style := lipgloss.NewStyle()
			if col < len(headers)-1 {
				style = style.PaddingRight(2)
			}
			if row == table.HeaderRow {
				style = style.Bold(true)
			}
			return style
		})
	lines := strings.Split(t.Render(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// reasonText colours a reason by what it means.
func reasonText(r api.Reason) string {
	switch r { //nolint:exhaustive // all others are trouble
	case "":
		return "-"
	case api.ReasonConverged:
		return good(string(r))
	case api.ReasonProgressing, api.ReasonDependency, api.ReasonOnHold, api.ReasonNotObserved:
		return busy(printable(string(r)))
	}
	return bad(printable(string(r)))
}

// healthText colours a health.
func healthText(h api.Health) string {
	switch h {
	case api.HealthNone:
		return "-"
	case api.HealthHealthy:
		return good(string(h))
	case api.HealthStarting:
		return busy(string(h))
	case api.HealthUnhealthy:
		return bad(string(h))
	}
	return printable(string(h))
}

// since writes the time from then to now in its largest unit: "5s", "3m", "2h", "4d".
func since(now, then time.Time) string {
	if then.IsZero() || then.Year() < 1970 {
		return "-"
	}
	switch d := max(0, now.Sub(then)); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// short cuts a revision or a digest to what is enough for people.
func short(id string) string {
	for _, prefix := range []string{"dir-", "sha256:"} {
		id = strings.TrimPrefix(id, prefix)
	}
	return printable(id[:min(len(id), 12)])
}

// printable takes what a terminal would act on out of a text: containers and servers have
// a say in messages.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		if unicode.IsControl(r) || r == unicode.ReplacementChar || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, text)
}

// oneLine is for the cells of a table.
func oneLine(text string) string {
	return strings.Join(strings.Fields(printable(text)), " ")
}
