package ctl

import (
	"io"
	"os"
	"strings"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"
)

// isTerminal says that somebody looks at what is written.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// terminalSize is that of a terminal; 80 by 24 where it does not say.
func terminalSize(w any) (width, height int) {
	if f, ok := w.(*os.File); ok {
		if width, height, err := term.GetSize(int(f.Fd())); err == nil && width > 0 && height > 0 {
			return width, height
		}
	}
	return 80, 24
}

// screen paints pictures over each other on the terminal's second screen, and leaves the
// last one on the first.
type screen struct {
	view
	last string
	note string
}

// Sequences that every terminal of today knows (ECMA-48, xterm).
const (
	screenOpen  = "\x1b[?1049h\x1b[?25l"
	screenClose = "\x1b[?25h\x1b[?1049l"
	screenHome  = "\x1b[H"
	lineRest    = "\x1b[K"
	screenRest  = "\x1b[J"
)

func newScreen(v view) *screen {
	s := &screen{view: v}
	_, _ = io.WriteString(v.out, screenOpen)
	return s
}

func (s *screen) show(d *document) error {
	s.last, s.note = d.text(s.format == formatWide), ""
	return s.paint()
}

func (s *screen) away(err error) error {
	first, _, _ := strings.Cut(err.Error(), "\n")
	s.note = bad(oneLine(first))
	return s.paint()
}

// paint writes what fits; the rest is said to be there.
func (s *screen) paint() error {
	width, height := terminalSize(s.out)
	lines := strings.Split(s.last, "\n")
	if s.note != "" {
		lines = append([]string{s.note, ""}, lines...)
	}
	if len(lines) > height {
		lines = append(lines[:height-1], dim("… more: ktrdrctl status NODE"))
	}
	return paintLines(s.out, screenHome, lines, width)
}

// paintLines goes to where begin says and writes lines, cut to the width. lipgloss drops
// colours where there shall be none; it would drop what moves the cursor as well.
func paintLines(w io.Writer, begin string, lines []string, width int) error {
	if _, err := io.WriteString(w, begin); err != nil {
		return err
	}
	cut := lipgloss.NewStyle().MaxWidth(width)
	for i, line := range lines {
		if i > 0 {
			if _, err := io.WriteString(w, lineRest+"\r\n"); err != nil {
				return err
			}
		}
		if _, err := lipgloss.Fprint(w, cut.Render(line)); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, lineRest+screenRest)
	return err
}

func (s *screen) close() {
	_, _ = io.WriteString(s.out, screenClose)
	if s.last != "" {
		_, _ = lipgloss.Fprintln(s.out, s.last)
	}
}
