package logs

import (
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
)

const (
	// maxLine is what is told of one line, in bytes.
	maxLine = 16 << 10
	// maxWhole is how much of a line is put together before it is redacted, in bytes. What
	// lies between is more than any secret has, so that none reaches into what is told
	// without being recognised.
	maxWhole = 1 << 20
)

// Line is one whole line without secrets.
type Line struct {
	Time   time.Time
	Stderr bool
	Text   string
}

// lines puts the entries of one container's log together.
type lines struct {
	redact func(string) string
	emit   func(Line)
	// last is the time of the newest whole line, told or not; zero before the first.
	last time.Time
	// streams are stdout and stderr, whose parts may alternate.
	streams [2]partialLine
}

// partialLine is a line whose end has not come yet.
type partialLine struct {
	text strings.Builder
	time time.Time
	open bool
	// cut says that the newest part is as long as the engine's parts are: more has to come.
	cut bool
	// headless says that the beginning was not read: nothing of the line is told, because a
	// secret in it could not be recognised.
	headless bool
}

func (l *lines) stream(e *engine.LogEntry) *partialLine {
	if e.Stderr {
		return &l.streams[1]
	}
	return &l.streams[0]
}

// add takes the next entry.
func (l *lines) add(e engine.LogEntry) {
	p := l.stream(&e)
	if !p.open {
		p.open, p.time = true, e.Time
	}
	if !e.Time.Equal(p.time) {
		// The engine gives all parts of a line one time. This one is the rest of another
		// line, or the beginning of one after a crash: neither is told.
		p.headless = true
	}
	if room := maxWhole - p.text.Len(); room > 0 && !p.headless {
		p.text.WriteString(e.Text[:min(room, len(e.Text))])
	}
	p.cut = e.Partial && len(e.Text) >= engine.DriverCut
	if e.Partial {
		return
	}
	l.whole(p.time)
	if !p.headless {
		l.emit(Line{Time: p.time, Stderr: e.Stderr, Text: cut(l.redact(p.text.String()))})
	}
	*p = partialLine{}
}

func (l *lines) whole(at time.Time) {
	if at.After(l.last) {
		l.last = at
	}
}

// drop forgets an entry of which nobody knows whether it is the beginning of its line, and
// with it the rest of that line.
func (l *lines) drop(e engine.LogEntry) {
	if e.Partial {
		*l.stream(&e) = partialLine{open: true, headless: true, time: e.Time}
		return
	}
	l.whole(e.Time)
}

// again prepares for reading on behind the last whole line. A line that is open and began
// later comes again; the beginning of one that is older does not.
func (l *lines) again() {
	for i := range l.streams {
		p := &l.streams[i]
		*p = partialLine{open: p.open && !p.time.After(l.last), time: p.time}
		p.headless = p.open
	}
}

// finish tells lines whose end will not come. One that the engine cut is not told: a
// secret may be cut with it.
func (l *lines) finish() {
	for i := range l.streams {
		if p := &l.streams[i]; p.open && !p.cut {
			l.add(engine.LogEntry{Time: p.time, Stderr: i == 1})
		}
		l.streams[i] = partialLine{}
	}
}

// cut makes a text as short as a line may be, whole characters.
func cut(text string) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	if len(text) <= maxLine {
		return text
	}
	return strings.ToValidUTF8(text[:maxLine-len("…")], "") + "…"
}
