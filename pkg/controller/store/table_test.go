package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/controller/store"
)

// TestTable runs on both: the shared etcd over gRPC and one in the process.
func TestTable(t *testing.T) {
	t.Run("external", func(t *testing.T) { testTable(t, open(t)) })
	t.Run("embedded", func(t *testing.T) { testTable(t, openEmbedded(t, t.TempDir())) })
}

func testTable(t *testing.T, s *store.Store) {
	ctx, nodes := t.Context(), s.Nodes()
	if _, err := nodes.Get(ctx, "a"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("get of nothing: %v", err)
	}
	node := store.Node{Name: "a", JoinedAt: time.Unix(1, 0).UTC(), CertSerial: "01"}
	if err := nodes.Create(ctx, node); err != nil {
		t.Fatal(err)
	}
	if err := nodes.Create(ctx, node); !errors.Is(err, store.ErrExists) {
		t.Fatalf("second create: %v", err)
	}
	node.Cordoned = &store.Cordon{By: "eve", Why: "disk", At: time.Unix(2, 0).UTC()}
	node.Generation = 2
	got, err := nodes.Update(ctx, "a", func(n *store.Node) error { n.Cordoned = node.Cordoned; return nil })
	if diff := cmp.Diff(node, got); err != nil || diff != "" {
		t.Fatalf("update: %v %s", err, diff)
	}
	if got, err = nodes.Get(ctx, "a"); err != nil || cmp.Diff(node, got) != "" {
		t.Fatalf("get: %v %s", err, cmp.Diff(node, got))
	}
	// Nothing altered, nothing written.
	if got, err = nodes.Update(ctx, "a", func(*store.Node) error { return nil }); err != nil || got.Generation != 2 {
		t.Fatalf("idle update: %v %+v", err, got)
	}
	stop := errors.New("stop")
	if _, err = nodes.Update(ctx, "a", func(*store.Node) error { return stop }); !errors.Is(err, stop) {
		t.Fatalf("refused update: %v", err)
	}
	if err := nodes.Put(ctx, store.Node{Name: "b"}); err != nil {
		t.Fatal(err)
	}
	listed, err := nodes.List(ctx)
	if diff := cmp.Diff([]store.Node{node, {Name: "b"}}, listed); err != nil || diff != "" {
		t.Fatalf("list: %v %s", err, diff)
	}
	if err := nodes.Delete(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := nodes.Delete(ctx, "a"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("second delete: %v", err)
	}
	if _, err := nodes.Update(ctx, "a", func(*store.Node) error { return nil }); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("update of nothing: %v", err)
	}
}
