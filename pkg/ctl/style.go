package ctl

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"charm.land/lipgloss/v2"

	"ktrdr.io/fleet/pkg/api"
)

// Colours are of the terminal's own palette, so that they suit dark and light ones.
// lipgloss.Fprint drops them where the output is no terminal, or NO_COLOR is set.
func good(text string) string { return paint("32", text) }

func busy(text string) string { return paint("33", text) }
func bad(text string) string  { return paint("31", text) }
func dim(text string) string  { return paint("2", text) }
func bold(text string) string { return paint("1", text) }

func paint(code, text string) string {
	if text == "" {
		return ""
	}
	return "\x1b[" + code + "m" + text + "\x1b[m"
}

// gap is between two columns.
const gap = 2

// columns lays rows out under their headers, without any lines.
func columns(headers []string, rows [][]string) string {
	widths := make([]int, len(headers))
	for i, header := range headers {
		widths[i] = len(header)
	}
	size := 0
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], cellWidth(cell))
			size += len(cell)
		}
	}
	var out strings.Builder
	out.Grow(size + (len(rows)+1)*(sum(widths)+gap*len(widths)))
	bolds := make([]string, len(headers))
	for i, header := range headers {
		bolds[i] = bold(header)
	}
	writeRow(&out, widths, bolds)
	for _, row := range rows {
		out.WriteByte('\n')
		writeRow(&out, widths, row)
	}
	return out.String()
}

func sum(numbers []int) int {
	total := 0
	for _, n := range numbers {
		total += n
	}
	return total
}

// writeRow leaves out blanks at the end of the line.
func writeRow(out *strings.Builder, widths []int, row []string) {
	blanks := 0
	for i, cell := range row {
		if cell != "" {
			for ; blanks > 0; blanks-- {
				out.WriteByte(' ')
			}
			out.WriteString(cell)
		}
		blanks += widths[i] - cellWidth(cell) + gap
	}
}

// cellWidth is how many columns a text takes on a terminal.
func cellWidth(text string) int {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return lipgloss.Width(text)
		}
	}
	return len(text)
}

// reasonText colours a reason by what it means.
func reasonText(r api.Reason) string {
	switch r { //nolint:exhaustive // all others are trouble
	case "":
		return "-"
	case api.ReasonConverged:
		return good(string(r))
	case api.ReasonProgressing, api.ReasonDependency, api.ReasonOnHold, api.ReasonNotObserved, ReasonNotJoined, ReasonNotDesired:
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
