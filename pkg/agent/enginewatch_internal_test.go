package agent

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// watched is an engine and what is told of it.
type watched struct {
	up         bool
	since      time.Time
	stream     error
	ping, info error
	told       []string
}

func (w *watched) Ping(context.Context) error { return w.ping }

func (w *watched) Info(context.Context) (api.Engine, error) {
	return api.Engine{Reachable: true, Version: "28.5"}, w.info
}

func (w *watched) SetEngine(e api.Engine) {
	w.told = append(w.told, "reachable "+e.Version)
}

func (w *watched) SetEngineDown(c *api.Condition) {
	w.told = append(w.told, "silent", string(c.Reason))
}

// TestEngineWatch: nothing is told before the first answer or failure; an engine that
// answers is reachable before it says who it is, and each change is told once.
func TestEngineWatch(t *testing.T) {
	w := &watched{}
	watch := &engineWatch{engine: w, report: w, connected: func() (bool, time.Time, error) { return w.up, w.since, w.stream }}
	broken := errors.New("timeout")
	steps := []struct {
		what string
		then func()
		want []string
	}{
		{"nothing is known yet", func() {}, nil},
		{"connected, loaded", func() { w.up, w.since, w.info = true, time.Unix(1, 0), broken }, []string{"reachable "}},
		{"still loaded", func() {}, nil},
		{"says who it is", func() { w.info = nil }, []string{"reachable 28.5"}},
		{"known", func() { w.info = broken }, nil},
		{"another connection", func() { w.since, w.info = time.Unix(2, 0), nil }, []string{"reachable 28.5"}},
		{"hung", func() { w.ping = broken }, []string{"silent", "EngineError"}},
		{"still hung", func() {}, nil},
		{"its stream ends", func() { w.up, w.stream = false, broken }, nil},
		{"is back", func() { w.up, w.stream, w.ping = true, nil, nil }, []string{"reachable ", "reachable 28.5"}},
		{"gone", func() { w.up = false }, []string{"silent", "EngineUnreachable"}},
	}
	for _, s := range steps {
		w.told = nil
		s.then()
		watch.look(t.Context())
		if !slices.Equal(w.told, s.want) {
			t.Errorf("%s: told %q, want %q", s.what, w.told, s.want)
		}
	}
	never := &watched{stream: broken}
	first := &engineWatch{engine: never, report: never, connected: func() (bool, time.Time, error) { return false, time.Time{}, never.stream }}
	first.look(t.Context())
	if !slices.Equal(never.told, []string{"silent", "EngineError"}) {
		t.Errorf("an engine that is not there at the start: %q", never.told)
	}
}

// TestConnectionIsHeardOf: an engine that was connected to is told of at once, and only a
// new connection ends what was told of one that hangs.
func TestConnectionIsHeardOf(t *testing.T) {
	w := &watched{}
	watch := &engineWatch{engine: w, report: w, connected: func() (bool, time.Time, error) { return w.up, w.since, w.stream }, bell: make(chan struct{}, 1)}
	broken := errors.New("timeout")
	steps := []struct {
		what  string
		then  func()
		want  []string
		rings bool
	}{
		{"a change before", func() { watch.heard("app") }, nil, false},
		{"connected", func() { w.up, w.since = true, time.Unix(1, 0); watch.heard("") }, []string{"reachable "}, true},
		{"a change", func() { watch.heard("app") }, nil, false},
		{"hung", func() { w.ping = broken; watch.look(t.Context()) }, []string{"silent", "EngineError"}, false},
		{"a change of before", func() { watch.heard("app") }, nil, false},
		{"connected again", func() { w.since = time.Unix(2, 0); watch.heard("") }, []string{"reachable "}, true},
	}
	for _, s := range steps {
		w.told = nil
		s.then()
		rings := false
		select {
		case <-watch.bell:
			rings = true
		default:
		}
		if !slices.Equal(w.told, s.want) || rings != s.rings {
			t.Errorf("%s: told %q, rang %t, want %q, %t", s.what, w.told, rings, s.want, s.rings)
		}
	}
}

// TestEngineIsAskedAtOnce who it is, and not at the next pulse.
func TestEngineIsAskedAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := &watched{}
		var up atomic.Bool
		began := time.Now()
		watch := &engineWatch{engine: w, report: w, connected: func() (bool, time.Time, error) { return up.Load(), began, nil }, bell: make(chan struct{}, 1)}
		ended := make(chan error, 1)
		go func() { ended <- watch.run(ctx) }()
		synctest.Wait()
		up.Store(true)
		watch.heard("")
		synctest.Wait()
		if since := time.Since(began); since != 0 || !slices.Equal(w.told, []string{"reachable ", "reachable 28.5"}) {
			t.Errorf("after %s: told %q", since, w.told)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// hanging answers nothing from a moment on.
type hanging struct {
	watched

	from time.Time
}

func (h *hanging) answer(ctx context.Context, takes time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	select {
	case <-limited.Done():
		return limited.Err()
	case <-time.After(takes):
	}
	if time.Now().Before(h.from) {
		return nil
	}
	<-limited.Done()
	return limited.Err()
}

func (h *hanging) Ping(ctx context.Context) error { return h.answer(ctx, time.Millisecond) }

func (h *hanging) Info(ctx context.Context) (api.Engine, error) {
	return api.Engine{Reachable: true, Version: "28.5"}, h.answer(ctx, 3*time.Second)
}

// TestHungEngineIsToldInTime, whenever it begins to hang: also while it says who it is.
func TestHungEngineIsToldInTime(t *testing.T) {
	t.Parallel()
	for after := time.Duration(0); after < 12*time.Second; after += 250 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			began := time.Now()
			h := &hanging{watched: watched{up: true, since: began}, from: began.Add(after)}
			w := &engineWatch{engine: h, report: h, connected: func() (bool, time.Time, error) { return true, began, nil }}
			ended := make(chan error, 1)
			go func() { ended <- w.run(ctx) }()
			time.Sleep(after + enginePulse + 10*time.Second + time.Millisecond)
			synctest.Wait()
			if !slices.Contains(h.told, "silent") {
				t.Errorf("hung after %s: told %q", after, h.told)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}
