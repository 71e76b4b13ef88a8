package agent

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/source"
)

// TestTheSourceBeatsTheLastGood: a source that answers while the last good state is being put
// in force, because it took so long, has the last word.
func TestTheSourceBeatsTheLastGood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := Default()
	cfg.Node, cfg.StateDir, cfg.SecretsDir = "a", filepath.Join(dir, "state"), filepath.Join(dir, "secrets")
	cfg.Engine.Host = "unix://" + filepath.Join(dir, "none")
	cfg.Source.Dir = &DirSource{Path: t.TempDir()}
	a, err := newAgent(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	if err := a.store.SetLastGood(&api.Desired{Node: "a", Revision: "old"}); err != nil {
		t.Fatal(err)
	}
	a.cache.SetRollout("gone", &api.Rollout{})
	accepted := make(chan struct{})
	began := false
	a.cache.Subscribe(func(string) { // the last good state has no such stack: it is about to be put in force
		if began {
			return
		}
		began = true
		go func() {
			defer close(accepted)
			a.accept(t.Context(), &api.Desired{Node: "a", Revision: "new"}, source.Revision{ID: "new"})
		}()
		select {
		case <-accepted:
		case <-time.After(300 * time.Millisecond): // it has to wait
		}
	})
	close(a.follow.looked)
	if err := a.fallBack(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-accepted
	if st := a.report.Status(); a.desired.Load().Revision != "new" || st.Revision != "new" {
		t.Errorf("in force is %s, and %s is told of", a.desired.Load().Revision, st.Revision)
	}
}
