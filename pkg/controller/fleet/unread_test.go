package fleet_test

import (
	"context"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestHeadUnreadable: with a full disk the fleet is shown as far as it is known, and a watch tells
// all of it as soon as there is room again.
func TestHeadUnreadable(t *testing.T) {
	l := newLab(t)
	for _, name := range []string{"a", "b", "c", "gpu"} {
		l.agent(&agenttest.Agent{Name: name})
	}
	l.await("all are connected", func() bool { return l.connected() == 4 })
	first := l.trees.write(t, "first", state(nil))
	l.accept(first)
	l.ended(first)
	second := l.trees.write(t, "second", state(map[string]string{"README.md": "more"}))
	full := func(is bool) {
		l.trees.mu.Lock()
		defer l.trees.mu.Unlock()
		l.trees.full = is
	}
	full(true)
	l.accept(second)
	l.await("the ledger has the second", func() bool { return l.ledger.Head().Revision == second })
	check := func(what string, fleet *ktrdrv1.Fleet) {
		conditions := fleet.GetConditions()
		if fleet.GetHead().GetRevision() != second || len(fleet.GetNodes()) != 4 || !fleet.GetNodes()[0].GetDesired() || !fleet.GetNodes()[0].GetConnected() {
			t.Errorf("%s: %v", what, fleet)
		}
		if len(conditions) != 1 || conditions[0].GetReason() != "DiskFull" || !strings.Contains(conditions[0].GetMessage(), "the files of the head "+second[:12]+" can't be read") {
			t.Errorf("%s: conditions %v", what, conditions)
		}
	}
	fleet, err := l.fleet().GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{})
	must(t, err)
	check("get", fleet)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watch, err := l.fleet().WatchFleet(ctx, &ktrdrv1.GetFleetRequest{})
	must(t, err)
	update, err := watch.Recv()
	must(t, err)
	check("watch", update.GetFleet())
	full(false)
	for {
		update, err = watch.Recv()
		must(t, err)
		if fleet := update.GetFleet(); fleet != nil && len(fleet.GetConditions()) == 0 {
			if fleet.GetNodes()[0].GetHostname() == "" || len(fleet.GetNodes()) != 4 {
				t.Errorf("with room again: %v", fleet)
			}
			break
		}
	}
}
