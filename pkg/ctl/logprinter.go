package ctl

import (
	"io"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"ktrdr.io/fleet/pkg/ctl/internal/logmerge"
)

// logPrinter writes lines with where they come from.
type logPrinter struct {
	out    io.Writer
	format string
	times  bool
	colour map[string]string
	width  int
}

// logDoc is a line of `ktrdrctl logs -o json`.
type logDoc struct {
	Time      time.Time `json:"time"`
	Node      string    `json:"node"`
	Stack     string    `json:"stack"`
	Service   string    `json:"service"`
	Container string    `json:"container"`
	Stream    string    `json:"stream"`
	Text      string    `json:"text"`
}

func (p *logPrinter) print(l *logmerge.Line) error {
	if p.format == formatJSON {
		doc := logDoc{Time: l.Time, Node: l.Node, Stack: l.Stack, Service: l.Service, Container: l.Container, Stream: "stdout", Text: l.Text}
		if l.Stderr {
			doc.Stream = "stderr"
		}
		return writeLine(p.out, doc)
	}
	prefix := oneLine(l.Node + " " + l.Container)
	p.width = max(p.width, cellWidth(prefix))
	text := p.paint(prefix) + strings.Repeat(" ", p.width-cellWidth(prefix)) + " | "
	if p.times {
		text += dim(l.Time.Local().Format("2006-01-02 15:04:05.000")) + " "
	}
	_, err := lipgloss.Fprintln(p.out, text+strings.ReplaceAll(printable(l.Text), "\n", " "))
	return err
}

// paint gives each container a colour of its own, as long as there are.
func (p *logPrinter) paint(prefix string) string {
	colours := []string{"36", "33", "32", "35", "34", "96", "93", "92", "95", "94"}
	if p.colour == nil {
		p.colour = map[string]string{}
	}
	if p.colour[prefix] == "" {
		p.colour[prefix] = colours[len(p.colour)%len(colours)]
	}
	return paint(p.colour[prefix], prefix)
}
