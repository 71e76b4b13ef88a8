package engine_test

import (
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// TestStreamLogs reads what a container printed as the engine's log driver kept it: long
// lines in parts, also of a terminal, whose log has no frames.
func TestStreamLogs(t *testing.T) {
	c := realEngine(t)
	long := strings.Repeat("0123456789abcdef", 2500) // 40,000 bytes
	for kind, tty := range map[string]bool{"pipe": false, "terminal": true} {
		t.Run(kind, func(t *testing.T) {
			id := create(t, c, engine.CreateRequest{Name: name(t, kind), Spec: api.ContainerSpec{
				Image: boxImage, TTY: tty, Command: []string{"exit", "0", long},
			}, Labels: map[string]string{api.LabelStack: "engine-test"}})
			before := time.Now()
			if err := c.Start(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			var entries []engine.LogEntry
			err := c.StreamLogs(t.Context(), engine.LogRequest{ID: id, Tail: -1, Follow: true}, func(e engine.LogEntry) { entries = append(entries, e) })
			if err != nil {
				t.Fatal(err)
			}
			text, first, last := "", engine.LogEntry{}, engine.LogEntry{}
			for i, e := range entries {
				if e.Stderr {
					continue
				}
				if text == "" {
					first = e
				}
				text, last = text+e.Text, entries[i]
			}
			if text != long {
				t.Errorf("%d bytes in %d entries, want %d", len(text), len(entries), len(long))
			}
			if !tty && (!first.Partial || len(first.Text) != engine.DriverCut || !last.Time.Equal(first.Time)) {
				t.Errorf("first entry: partial %v, %d bytes at %s; last at %s", first.Partial, len(first.Text), first.Time, last.Time)
			}
			if last.Partial || first.Time.Before(before.Add(-time.Minute)) || first.Time.After(time.Now().Add(time.Minute)) {
				t.Errorf("last entry partial: %v, at %s", last.Partial, last.Time)
			}
			entries = nil
			err = c.StreamLogs(t.Context(), engine.LogRequest{ID: id, Tail: -1, Since: last.Time.Add(time.Nanosecond)}, func(e engine.LogEntry) { entries = append(entries, e) })
			if err != nil || len(entries) > 0 {
				t.Errorf("since behind the last: %d entries, %v", len(entries), err)
			}
			err = c.StreamLogs(t.Context(), engine.LogRequest{ID: id, Tail: 1}, func(e engine.LogEntry) { entries = append(entries, e) })
			if err != nil || len(entries) != 1 {
				t.Errorf("tail 1: %d entries, %v", len(entries), err)
			}
		})
	}
}
