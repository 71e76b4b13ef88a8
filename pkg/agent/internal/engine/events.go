package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// eventBuffer is how many events a reader may be behind before the stream ends.
const eventBuffer = 4096

// ErrOverflow ends an event stream whose reader is too far behind: it has to list again.
var ErrOverflow = errors.New("reader of events is too slow")

// Events streams what happens in the engine, from since on (zero: from now on). Both
// channels are closed after exactly one error: context.Canceled, ErrOverflow when the
// reader is more than 4096 events behind, or how the engine ended it. The first answer has
// to come within Config.Query; after that silence is normal. Engine API: GET /events.
func (c *Client) Events(ctx context.Context, since time.Time) (<-chan Event, <-chan error) {
	out := make(chan Event, eventBuffer)
	failed := make(chan error, 1)
	go func() {
		defer close(out)
		defer close(failed)
		what := call{op: "watch events", object: "of " + c.cfg.Host}
		failed <- c.do(ctx, what, func(ctx context.Context, s *session) error {
			return c.forward(ctx, s, since, out)
		})
	}()
	return out, failed
}

func (c *Client) forward(ctx context.Context, s *session, since time.Time, out chan<- Event) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	opening := time.AfterFunc(c.cfg.Query, func() { cancel(context.DeadlineExceeded) })
	options := client.EventsListOptions{}
	if !since.IsZero() {
		options.Since = fmt.Sprintf("%d.%09d", since.Unix(), since.Nanosecond())
	}
	stream := s.cli.Events(ctx, options)
	opening.Stop()
	for {
		select {
		case message := <-stream.Messages:
			select {
			case out <- readEvent(message):
			default:
				return ErrOverflow
			}
		case err := <-stream.Err:
			if cause := context.Cause(ctx); errors.Is(cause, context.DeadlineExceeded) {
				return cause
			}
			if err == nil {
				err = errors.New("the engine ended the stream")
			}
			return err
		}
	}
}

// maxHistory bounds what PastEvents reads; engines remember 256 events.
const maxHistory = 4096

// PastEvents is what the engine still remembers of what has happened since its own start,
// the oldest first. Engine API: GET /events with since and until.
func (c *Client) PastEvents(ctx context.Context) (past []Event, err error) {
	what := call{op: "read past events", object: "of " + c.cfg.Host, limit: c.cfg.Query}
	err = c.do(ctx, what, func(ctx context.Context, s *session) error {
		past = nil
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // a stream that is left early ends
		now := time.Now()
		stream := s.cli.Events(ctx, client.EventsListOptions{Since: "1", Until: fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond())})
		for len(past) < maxHistory {
			select {
			case message := <-stream.Messages:
				past = append(past, readEvent(message))
			case err := <-stream.Err:
				if errors.Is(err, io.EOF) {
					return nil
				}
				return err
			}
		}
		return ErrOverflow
	})
	return past, err
}

// readEvent drops what follows the colon of an action: commands of execs and output of
// healthchecks are no business of a cache, and may hold secrets.
func readEvent(message events.Message) Event {
	action, _, _ := strings.Cut(string(message.Action), ":")
	at := time.Unix(0, message.TimeNano)
	if message.TimeNano == 0 {
		at = time.Unix(message.Time, 0)
	}
	attributes := maps.Clone(message.Actor.Attributes)
	delete(attributes, "execID")
	return Event{
		Type: string(message.Type), Action: action, ID: message.Actor.ID,
		Attributes: attributes, Time: at,
	}
}
