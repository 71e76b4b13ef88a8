package logs_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/internal/logs"
	"ktrdr.io/fleet/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

const secret = "c4nary-Zq8vT2mLw9-XyRbN5"

func redact(text string) string { return strings.ReplaceAll(text, secret, "[redacted]") }

// fake keeps logs as the engine's drivers do: lines in parts of 16 KiB with one time.
type fake struct {
	mu      sync.Mutex
	entries map[string][]engine.LogEntry
	running map[string]bool
	gone    map[string]bool
	down    bool
	grown   chan struct{}
	clock   time.Time
}

func newFake() *fake {
	return &fake{
		entries: map[string][]engine.LogEntry{}, running: map[string]bool{}, gone: map[string]bool{}, grown: make(chan struct{}),
	}
}

func (f *fake) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.grown)
	f.grown = make(chan struct{})
}

// print adds a line; only some of its parts when they are limited.
func (f *fake) print(id, line string, parts int) {
	f.change(func() {
		if f.clock = f.clock.Add(time.Nanosecond); f.clock.Before(time.Now()) {
			f.clock = time.Now()
		}
		f.running[id] = true
		for range parts {
			size := min(len(line), engine.DriverCut)
			partial := len(line) > engine.DriverCut
			f.entries[id] = append(f.entries[id], engine.LogEntry{Time: f.clock, Text: line[:size], Partial: partial})
			if line = line[size:]; !partial {
				break
			}
		}
	})
}

const allParts = 1 << 20

func (f *fake) StreamLogs(ctx context.Context, req engine.LogRequest, emit func(engine.LogEntry)) error {
	f.mu.Lock()
	if f.gone[req.ID] {
		f.mu.Unlock()
		return engine.ErrNotFound
	}
	next := 0
	if req.Tail >= 0 {
		next = max(0, len(f.entries[req.ID])-req.Tail)
	}
	f.mu.Unlock()
	for {
		f.mu.Lock()
		if f.down {
			f.mu.Unlock()
			return engine.ErrUnreachable
		}
		list, grown, running := f.entries[req.ID][next:], f.grown, f.running[req.ID] && !f.gone[req.ID]
		next += len(list)
		f.mu.Unlock()
		for _, e := range list {
			if !e.Time.Before(req.Since) {
				emit(e)
			}
		}
		if len(list) > 0 {
			continue
		}
		if !req.Follow || !running {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grown:
		}
	}
}

func (f *fake) targets() []logs.Target {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []logs.Target
	for id := range f.entries {
		if !f.gone[id] {
			list = append(list, logs.Target{ID: id, Name: id, Stack: "core", Running: f.running[id]})
		}
	}
	return list
}

// told collects lines.
type told struct {
	mu    sync.Mutex
	lines []string
}

func (c *told) add(t logs.Target, l logs.Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, t.Name+": "+l.Text)
}

func (c *told) list() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.lines...)
}

func (c *told) await(t *testing.T, want ...string) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		if got := c.list(); strings.Join(got, "|") == strings.Join(want, "|") {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("told %q, want %q", got, want)
		}
	}
}

func (f *fake) config() logs.Config {
	return logs.Config{Engine: f, Redact: redact, Targets: f.targets, Poll: time.Millisecond, Retry: time.Millisecond}
}

func follow(t *testing.T, f *fake, q logs.Query) *told {
	t.Helper()
	c := &told{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	q.Follow = true
	go func() { done <- logs.Stream(ctx, f.config(), q, c.add) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Stream: %v", err)
		}
	})
	return c
}

func TestFollowsWhatComes(t *testing.T) {
	t.Parallel()
	f := newFake()
	f.print("a", "old", allParts)
	f.print("a", "last", allParts)
	c := follow(t, f, logs.Query{Tail: 1})
	c.await(t, "a: last")
	f.print("a", "one", allParts)
	c.await(t, "a: last", "a: one")
	f.print("b", "born later", allParts) // all of it, though only one last line was asked for
	f.print("b", "and more", allParts)
	c.await(t, "a: last", "a: one", "b: born later", "b: and more")
	f.change(func() { f.down = true })
	f.print("a", "while the engine was down", allParts)
	f.change(func() { f.down = false })
	c.await(t, "a: last", "a: one", "b: born later", "b: and more", "a: while the engine was down")
	f.change(func() { f.running["a"] = false })
	f.print("a", "started again", allParts)
	c.await(t, "a: last", "a: one", "b: born later", "b: and more", "a: while the engine was down", "a: started again")
	f.change(func() { f.gone["a"] = true })
	f.print("c", "its successor", allParts)
	c.await(t, "a: last", "a: one", "b: born later", "b: and more", "a: while the engine was down", "a: started again", "c: its successor")
}

func TestReadsLastLines(t *testing.T) {
	t.Parallel()
	f := newFake()
	for i := range 5 {
		f.print("a", fmt.Sprint(i), allParts)
	}
	middle := f.clock
	f.print("a", "5", allParts)
	for _, test := range []struct {
		q    logs.Query
		want string
	}{
		{logs.Query{Tail: -1}, "0 1 2 3 4 5"},
		{logs.Query{Tail: 3}, "3 4 5"},
		{logs.Query{Tail: 6}, "0 1 2 3 4 5"},
		{logs.Query{Tail: 100}, "0 1 2 3 4 5"},
		{logs.Query{Tail: 0}, ""},
		{logs.Query{Tail: -1, Since: middle}, "4 5"},
	} {
		c := &told{}
		if err := logs.Stream(t.Context(), f.config(), test.q, c.add); err != nil {
			t.Fatal(err)
		}
		if got := strings.ReplaceAll(strings.Join(c.list(), " "), "a: ", ""); got != test.want {
			t.Errorf("%+v: %q, want %q", test.q, got, test.want)
		}
	}
}

// TestNoPartOfASecretLeaves: wherever a secret lies in a line, however long, and wherever
// reading begins, is interrupted or ends, no part of it that could help anybody is told.
func TestNoPartOfASecretLeaves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		f := newFake()
		at := rapid.OneOf(
			rapid.IntRange(0, 200), rapid.IntRange(engine.DriverCut-40, engine.DriverCut+40),
			rapid.IntRange(2*engine.DriverCut-40, 2*engine.DriverCut+40), rapid.IntRange(0, 4*engine.DriverCut),
		)
		printed := func() {
			line := strings.Repeat(".", at.Draw(rt, "before")) + secret + strings.Repeat(".", rapid.IntRange(0, engine.DriverCut).Draw(rt, "behind"))
			f.print("a", line, rapid.SampledFrom([]int{1, 2, allParts, allParts, allParts}).Draw(rt, "parts"))
		}
		for range rapid.IntRange(1, 4).Draw(rt, "lines") {
			printed()
		}
		q := logs.Query{Tail: rapid.IntRange(-1, 6).Draw(rt, "tail"), Follow: rapid.Bool().Draw(rt, "follow")}
		f.running["a"] = rapid.Bool().Draw(rt, "running")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c := &told{}
		done := make(chan error, 1)
		go func() { done <- logs.Stream(ctx, f.config(), q, c.add) }()
		if q.Follow {
			for range rapid.IntRange(0, 3).Draw(rt, "more") {
				f.change(func() { f.down = rapid.Bool().Draw(rt, "down") })
				printed()
			}
			f.change(func() { f.down = false })
			f.print("a", "the end", allParts)
			// Following may begin only now, and wants nothing from before.
			for deadline := time.Now().Add(time.Minute); !strings.Contains(strings.Join(c.list(), "\n"), "very end") && time.Now().Before(deadline); {
				f.print("a", "the very end", allParts)
				time.Sleep(time.Millisecond)
			}
			cancel()
		}
		if err := <-done; err != nil {
			rt.Fatal(err)
		}
		all := strings.Join(c.list(), "\n")
		for i := 0; i+6 <= len(secret); i++ {
			if part := secret[i : i+6]; strings.Contains(all, part) {
				rt.Fatalf("a part of the secret is told: %q", part)
			}
		}
		if q.Follow && !strings.Contains(all, "the very end") {
			rt.Fatalf("the end is not told, after %d lines", len(c.list()))
		}
	})
}

// TestBeginsInALongLine: last lines that begin with a later part of a line.
func TestBeginsInALongLine(t *testing.T) {
	t.Parallel()
	f := newFake()
	for _, cut := range []int{1, 2, 3} {
		f.print("a", strings.Repeat(".", cut*engine.DriverCut-len(secret)/2)+secret+strings.Repeat(".", 2*engine.DriverCut), allParts)
	}
	f.print("a", "end", allParts)
	for tail := range 20 {
		c := &told{}
		if err := logs.Stream(t.Context(), f.config(), logs.Query{Tail: tail}, c.add); err != nil {
			t.Fatal(err)
		}
		all := strings.Join(c.list(), "\n")
		if strings.Contains(all, secret[:6]) || strings.Contains(all, secret[len(secret)-6:]) {
			t.Errorf("tail %d: half of the secret is told", tail)
		}
		if tail > 0 && !strings.HasSuffix(all, "a: end") {
			t.Errorf("tail %d: the end is missing", tail)
		}
	}
}
