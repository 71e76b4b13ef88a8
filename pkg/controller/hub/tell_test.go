package hub_test

import (
	"context"
	"testing"

	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/slicing"
)

// TestOwnEventsAreNumberedAcrossStarts: those of a later start have higher numbers than all of an
// earlier one, whatever the clock said.
func TestOwnEventsAreNumberedAcrossStarts(t *testing.T) {
	t.Parallel()
	var last uint64
	for _, epoch := range []int64{1, 2, 700} {
		h, err := hub.New(hub.Config{
			Controller: "c1", Epoch: epoch, Shelf: slicing.NewShelf(nothing{}), Memory: &forgetful{kept: map[string][]byte{}}, StatusInterval: 1, KeepInterval: 1,
			Caller: func(context.Context) (string, error) { return "", nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			h.Tell("info", "rollout", "Test", "text")
		}
		events, _ := h.Events(0)
		if len(events) != 3 {
			t.Fatalf("%d events", len(events))
		}
		for _, e := range events {
			if e.Event.GetSeq() <= last {
				t.Errorf("number %d after %d", e.Event.GetSeq(), last)
			}
			last = e.Event.GetSeq()
		}
	}
}
