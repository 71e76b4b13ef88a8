package logs

import (
	"context"
	"errors"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
)

// Engine is what is asked of the engine.
type Engine interface {
	StreamLogs(ctx context.Context, req engine.LogRequest, emit func(engine.LogEntry)) error
}

// Request asks for the log of one container.
type Request struct {
	ID string
	// Tail is the number of last lines; negative for all.
	Tail int
	// Since is zero for all.
	Since time.Time
}

// reader reads the log of one container.
type reader struct {
	engine Engine
	lines  lines
}

func newReader(e Engine, redact func(string) string, emit func(Line)) *reader {
	return &reader{engine: e, lines: lines{redact: redact, emit: emit}}
}

// Read tells the last lines of a container.
func Read(ctx context.Context, e Engine, req Request, redact func(string) string, emit func(Line)) error {
	r := newReader(e, redact, emit)
	defer r.lines.finish()
	return r.history(ctx, req)
}

// history reads what there is. With Tail, one entry more is asked for: when there is one,
// the lines begin behind it, and whether it is the first part of a cut line is known.
func (r *reader) history(ctx context.Context, req Request) error {
	if req.Tail == 0 {
		return nil
	}
	ask := engine.LogRequest{ID: req.ID, Tail: req.Tail, Since: req.Since}
	if req.Tail < 0 {
		return r.engine.StreamLogs(ctx, ask, func(e engine.LogEntry) { r.lines.add(e) })
	}
	ask.Tail++
	// Entries are held back until it is clear that there is one more than was asked for.
	var held []engine.LogEntry
	more := false
	release := func() {
		for _, e := range held {
			r.lines.add(e)
		}
		held = nil
	}
	err := r.engine.StreamLogs(ctx, ask, func(e engine.LogEntry) {
		switch {
		case more:
			r.lines.add(e)
		case len(held) < req.Tail:
			held = append(held, e)
		default:
			more = true
			r.lines.drop(held[0])
			held = held[1:]
			release()
			r.lines.add(e)
		}
	})
	release()
	return err
}

// on follows from behind the last line that was told, or from since.
func (r *reader) on(ctx context.Context, id string, since time.Time) error {
	if !r.lines.last.IsZero() {
		since = r.lines.last.Add(time.Nanosecond)
	}
	r.lines.again()
	return r.engine.StreamLogs(ctx, engine.LogRequest{ID: id, Tail: -1, Since: since, Follow: true}, func(e engine.LogEntry) { r.lines.add(e) })
}

// gone tells whether the container is not there any more.
func gone(err error) bool { return errors.Is(err, engine.ErrNotFound) }
