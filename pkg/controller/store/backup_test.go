package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/controller/store"
)

// filled is a store with one of everything that a backup has, and of what it leaves out.
func filled(t *testing.T, s *store.Store) []byte {
	t.Helper()
	ctx, now := t.Context(), time.Unix(1000, 0).UTC()
	_, errHead := s.AdvanceHead(ctx, "", store.Head{Revision: "c1"})
	_, errRollout := s.StartRollout(ctx, 0, store.Rollout{Revision: "c1", Data: []byte("{}\n\x00")})
	_, errCordon := s.StartRollout(ctx, 1, store.Rollout{Revision: "c2"})
	err := errors.Join(errHead, errRollout, errCordon,
		s.Nodes().Create(ctx, store.Node{Name: "a"}),
		s.Nodes().Create(ctx, store.Node{Name: "gone"}),
		s.Nodes().Delete(ctx, "gone"),
		s.Operators().Create(ctx, store.Operator{Name: "ann", Role: store.RoleAdmin, TokenHash: hash("x")}),
		s.Tokens().Create(ctx, store.JoinToken{ID: "t", Node: "a", SecretHash: hash("x"), ExpiresAt: now}),
		s.Record(ctx, store.Audit{At: now, Who: "ann"}))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 150 { // more than one transaction
		if err := s.Statuses().Put(ctx, store.Status{Node: fmt.Sprintf("n%03d", i), Data: make([]byte, 20_000)}); err != nil {
			t.Fatal(err)
		}
	}
	session(t, s, "c1")
	var backup bytes.Buffer
	if err := s.Snapshot(ctx, &backup); err != nil {
		t.Fatal(err)
	}
	put(t, s, "later")
	return backup.Bytes()
}

func checkRestored(t *testing.T, s *store.Store) {
	t.Helper()
	ctx, now := t.Context(), time.Unix(1000, 0).UTC()
	nodes, errNodes := s.Nodes().List(ctx)
	head, errHead := s.Head(ctx)
	rollouts, errRollouts := s.Rollouts(ctx, 0)
	ann, errAnn := s.OperatorByToken(ctx, hash("x"), now)
	statuses, errStatuses := s.Statuses().List(ctx)
	audit, errAudit := s.Audit(ctx, 0, "")
	tokens, errTokens := s.Tokens().List(ctx)
	controllers, errControllers := s.Controllers().List(ctx)
	if err := errors.Join(errNodes, errHead, errRollouts, errAnn, errStatuses, errAudit, errTokens, errControllers); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(nodes[0].Name, len(nodes), head.Revision, head.Generation, len(rollouts), string(rollouts[1].Data), ann.Name,
		len(statuses), len(statuses[149].Data), len(audit), len(tokens), len(controllers))
	want := fmt.Sprint("a", 1, "c1", 1, 2, "{}\n\x00", "ann", 150, 20_000, 1, 0, 0)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestRestore goes from an embedded store to an external one and back.
func TestRestore(t *testing.T) {
	backup := filled(t, openEmbedded(t, t.TempDir()))
	at := prefix()
	external := store.Config{External: &store.External{Endpoints: []string{shared}, Prefix: at}}
	if n, err := store.Restore(t.Context(), external, store.Backup{Content: bytes.NewReader(backup)}); err != nil || n != 157 {
		t.Fatalf("restore: %d records, %v", n, err)
	}
	s := openAt(t, at, shared)
	checkRestored(t, s)
	if _, err := store.Restore(t.Context(), external, store.Backup{Content: bytes.NewReader(backup)}); !errors.Is(err, store.ErrExists) {
		t.Errorf("restore over records: %v", err)
	}
	var again bytes.Buffer
	if err := s.Snapshot(t.Context(), &again); err != nil {
		t.Fatal(err)
	}
	embedded := store.Config{Embedded: &store.Embedded{Dir: t.TempDir()}}
	if _, err := store.Restore(t.Context(), embedded, store.Backup{Content: &again, Prefix: at}); err != nil {
		t.Fatal(err)
	}
	checkRestored(t, openConfig(t, embedded))
}

func TestRestoreRefuses(t *testing.T) {
	backup := filled(t, openEmbedded(t, t.TempDir()))
	damaged := bytes.Clone(backup)
	damaged[len(damaged)/2] ^= 1
	for name, c := range map[string]struct {
		content []byte
		prefix  string
		want    string
	}{
		"cut":           {backup[:len(backup)-4096-7], "", "cut"},
		"cut at a page": {backup[:len(backup)-4096], "", "checksum"},
		"damaged":       {damaged, "", "checksum"},
		"empty":         {nil, "", "cut"},
		"no such keys":  {backup, "/other/", "no record under /other/"},
	} {
		config := store.Config{Embedded: &store.Embedded{Dir: t.TempDir()}}
		_, err := store.Restore(t.Context(), config, store.Backup{Content: bytes.NewReader(c.content), Prefix: c.prefix})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestInterruptedRestore can't be opened, and is begun anew.
func TestInterruptedRestore(t *testing.T) {
	backup := filled(t, openEmbedded(t, t.TempDir()))
	at := prefix()
	c := client(t, shared)
	for key, value := range map[string]string{"schema": "restoring", "nodes/left": `{"name":"left"}`, "z/left": ""} {
		if _, err := c.Put(t.Context(), at+key, value); err != nil {
			t.Fatal(err)
		}
	}
	config := store.Config{External: &store.External{Endpoints: []string{shared}, Prefix: at}}
	if _, err := store.Open(t.Context(), config); err == nil || !strings.Contains(err.Error(), "restore again") {
		t.Errorf("open: %v", err)
	}
	if _, err := store.Restore(t.Context(), config, store.Backup{Content: bytes.NewReader(backup)}); err != nil {
		t.Fatal(err)
	}
	checkRestored(t, openAt(t, at, shared))
	if left, err := c.Get(t.Context(), at+"z/left"); err != nil || len(left.Kvs) != 0 {
		t.Errorf("left of the first try: %v %v", left.Kvs, err)
	}
}
