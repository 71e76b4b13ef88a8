package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// watcher follows the starts and deaths of the containers of one measure. It is how every
// contender's end is told: by the engine's word, and without a poll that would cost time.
type watcher struct {
	events chan happening
	stop   context.CancelFunc
}

type happening struct {
	action string
	at     time.Time
}

// watch follows the containers with a label of that value from now on.
func (e *engine) watch(ctx context.Context, label, value string) (*watcher, error) {
	return e.follow(ctx, map[string][]string{
		"type": {"container"}, "event": {"start", "die"}, "label": {label + "=" + value},
	})
}

// follow keeps the events that pass the filters, up to a bound.
func (e *engine) follow(ctx context.Context, pass map[string][]string) (*watcher, error) {
	filters, err := json.Marshal(pass)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	stream, err := e.open(ctx, http.MethodGet, "/events?filters="+url.QueryEscape(string(filters)), nil)
	if err != nil {
		stop()
		return nil, err
	}
	w := &watcher{events: make(chan happening, 10_000), stop: stop}
	go func() {
		defer close(w.events)
		defer func() { _ = stream.Close() }()
		for decoder := json.NewDecoder(stream); ; {
			var ev struct {
				Action string
			}
			if decoder.Decode(&ev) != nil {
				return
			}
			select {
			case w.events <- happening{ev.Action, time.Now()}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return w, nil
}

// await waits for the n-th event of an action and returns when it came in.
func (w *watcher) await(ctx context.Context, action string, n int) (time.Time, error) {
	for {
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("await %d more containers to %s: %w", n, action, ctx.Err())
		case ev, ok := <-w.events:
			if !ok {
				return time.Time{}, fmt.Errorf("await %d more containers to %s: the event stream has ended", n, action)
			}
			if ev.action != action {
				continue
			}
			if n--; n == 0 {
				return ev.at, nil
			}
		}
	}
}

// patience bounds the wait for one contender.
const patience = 10 * time.Minute

// timed runs do and returns how long it took until n containers of the project have
// started, counted from the beginning of do.
func (e *engine) timed(ctx context.Context, project string, n int, do func(context.Context) error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	w, err := e.watch(ctx, benchLabel, project)
	if err != nil {
		return 0, err
	}
	defer w.stop()
	began := time.Now()
	if err := do(ctx); err != nil {
		return 0, err
	}
	ended, err := w.await(ctx, "start", n)
	return ended.Sub(began), err
}
