package fleet_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/controller/fleet"
	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// remover is as much of enrollment as removing a node takes.
type remover struct{ store *store.Store }

func (remover) NewJoinToken(context.Context, string, time.Duration, string) (pki.JoinToken, time.Time, error) {
	return pki.JoinToken{}, time.Time{}, nil
}

func (r remover) RemoveNode(ctx context.Context, node string) error {
	return r.store.RemoveNode(ctx, node)
}

// TestDoneIsShown: who cordons or removes a node and then looks at the fleet sees it, however late
// the store tells.
func TestDoneIsShown(t *testing.T) {
	l := newLab(t)
	for what, c := range map[string]struct {
		do    func(*fleet.Nodes) error
		shown func(hub.Node) bool
	}{
		"cordon": {func(n *fleet.Nodes) error {
			_, err := n.Cordon(t.Context(), &ktrdrv1.CordonRequest{Node: "cordon", Why: "disk"})
			return err
		}, func(n hub.Node) bool { return n.Joined != nil && n.Joined.Cordoned != nil }},
		"remove": {func(n *fleet.Nodes) error {
			_, err := n.RemoveNode(t.Context(), &ktrdrv1.RemoveNodeRequest{Node: "remove"})
			return err
		}, func(n hub.Node) bool { return n.Joined == nil }},
	} {
		t.Run(what, func(t *testing.T) {
			l.join(what)
			h, err := hub.New(hub.Config{Controller: "c1", Shelf: l.shelf, Memory: l.session, Caller: caller, Log: slog.New(slog.DiscardHandler)})
			must(t, err)
			service := fleet.New(fleet.Config{Version: "test", Repo: stubRepo{lab: l}, Store: l.store, Hub: h, Shelf: l.shelf, Ledger: l.ledger, Log: slog.New(slog.DiscardHandler)})
			lagging := make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			var watching sync.WaitGroup
			watching.Go(func() { <-lagging; _ = h.Watch(ctx, l.store) })
			defer watching.Wait()
			defer cancel()
			if what == "remove" { // which it has to know of first
				close(lagging)
				l.await("it is known", func() bool { n, _ := h.Node(what); return n.Joined != nil })
			} else {
				time.AfterFunc(300*time.Millisecond, func() { close(lagging) })
			}
			must(t, c.do(fleet.NewNodes(service, remover{l.store})))
			if n, _ := h.Node(what); !c.shown(n) {
				t.Errorf("it is done and not shown: %+v", n)
			}
		})
	}
}
