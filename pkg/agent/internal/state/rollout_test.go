package state_test

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/api"
)

// TestRolloutsComeBack: what a rollback needs is the same after a restart, each field of
// the stack included.
func TestRolloutsComeBack(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	var stack api.Stack
	filler{rand.New(rand.NewPCG(7, 7)), 0}.fill(reflect.ValueOf(&stack).Elem())
	good := &api.KnownGood{
		Desired: &api.Desired{Revision: "r1", Node: "a", Stacks: []api.Stack{stack}, Root: "/var/lib/ktrdr/source/r1"},
		Images:  map[string]api.ImagePin{"web": {ID: "sha256:1", Digest: "sha256:2"}}, Jobs: map[string]string{"p/migrate/m": "v1:x"}, At: at,
	}
	failed := &api.FailedUpdate{
		Revision: "r2", Digest: "sha256:d", Images: map[string]string{"web:2": "sha256:3"}, Action: api.FailureRollback,
		Service: "web", Container: "p-web-1", Reason: api.ReasonUnhealthy, Message: "is unhealthy", Log: []string{"one", "two"}, At: at,
	}
	want := map[string]*api.Rollout{"both": {Good: good, Failed: failed}, "good": {Good: good}, "failed": {Failed: failed}, "none": {}}
	for name, r := range want {
		ok(t, s.SetRollout(name, r))
	}
	ok(t, s.SetRollout("dropped", want["good"]), s.SetRollout("dropped", nil), s.SetRollout("never", nil), s.Close())
	s = open(t, dir)
	if diff := cmp.Diff(want, s.Rollouts()); diff != "" {
		t.Errorf("came back different:\n%s", diff)
	}
	if s.Healed() != "" {
		t.Errorf("healed: %s", s.Healed())
	}
}

// TestPullsComeBack: when a registry was asked survives a restart, and what nobody wants
// any more is dropped.
func TestPullsComeBack(t *testing.T) {
	dir, at := t.TempDir(), time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	s := open(t, dir)
	ok(t, s.SetPulled("a:1", at), s.SetPulled("b:1", at), s.DropPulls(func(ref string) bool { return ref == "a:1" }), s.Close())
	if diff := cmp.Diff(map[string]time.Time{"a:1": at}, open(t, dir).Pulls()); diff != "" {
		t.Errorf("came back different:\n%s", diff)
	}
}
