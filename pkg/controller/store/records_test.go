package store_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/controller/store"
)

func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func TestRedeem(t *testing.T) {
	s, ctx, now := open(t), t.Context(), time.Unix(1000, 0).UTC()
	token := store.JoinToken{ID: "t1", SecretHash: hash("right"), Node: "a", ExpiresAt: now.Add(time.Minute), CreatedBy: "ann"}
	if err := s.Tokens().Create(ctx, token); err != nil {
		t.Fatal(err)
	}
	use := func(id, secret, node, key string, at time.Time) (store.JoinToken, error) {
		return s.Redeem(ctx, store.Redemption{ID: id, Hash: hash(secret), Node: node, Key: key, From: "10.0.0.9", At: at})
	}
	for name, c := range map[string]struct {
		id, secret, node string
		at               time.Time
		want             error
	}{
		"unknown id":           {"t2", "right", "a", now, store.ErrTokenInvalid},
		"no key":               {"a/b", "right", "a", now, store.ErrTokenInvalid},
		"wrong secret":         {"t1", "wrong", "a", now, store.ErrTokenInvalid},
		"another node":         {"t1", "right", "b", now, store.ErrTokenInvalid},
		"expired":              {"t1", "right", "a", token.ExpiresAt, store.ErrTokenExpired},
		"expired, not told so": {"t1", "wrong", "a", token.ExpiresAt, store.ErrTokenInvalid},
	} {
		if _, err := use(c.id, c.secret, c.node, "k", c.at); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	used, err := use("t1", "right", "a", "k", now)
	token.UsedAt, token.UsedFrom, token.UsedKey = now, "10.0.0.9", "k"
	if diff := cmp.Diff(token, used); err != nil || diff != "" {
		t.Fatalf("redeem: %v %s", err, diff)
	}
	for name, c := range map[string]struct {
		key  string
		at   time.Time
		want error
	}{
		"another key":               {"other", now, store.ErrTokenUsed},
		"no key":                    {"", now, store.ErrTokenUsed},
		"the same key, but expired": {"k", token.ExpiresAt, store.ErrTokenExpired},
	} {
		if _, err := use("t1", "right", "a", c.key, c.at); !errors.Is(err, c.want) {
			t.Errorf("second use with %s: %v", name, err)
		}
	}
	if again, err := use("t1", "right", "a", "k", now.Add(time.Second)); err != nil || !cmp.Equal(used, again) {
		t.Errorf("second use with the same key: %+v, %v", again, err)
	}
	if _, err := use("t1", "wrong", "a", "k", now); !errors.Is(err, store.ErrTokenInvalid) {
		t.Errorf("second use with a wrong secret: %v", err)
	}
}

func TestAdvanceHead(t *testing.T) {
	s, ctx := open(t), t.Context()
	if _, err := s.Head(ctx); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("first head: %v", err)
	}
	if _, err := s.AdvanceHead(ctx, "c0", store.Head{Revision: "c1"}); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("advance from nothing: %v", err)
	}
	first := store.Head{Revision: "c1", Author: "ann", AcceptedAt: time.Unix(1, 0).UTC(), Generation: 99}
	got, err := s.AdvanceHead(ctx, "", first)
	first.Generation = 1
	if diff := cmp.Diff(first, got); err != nil || diff != "" {
		t.Fatalf("first: %v %s", err, diff)
	}
	// The same call again, as after a lost answer.
	if got, err = s.AdvanceHead(ctx, "", first); err != nil || got.Generation != 1 {
		t.Fatalf("repeated: %v %+v", err, got)
	}
	if _, err = s.AdvanceHead(ctx, "", store.Head{Revision: "c2"}); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("stale: %v", err)
	}
	if got, err = s.AdvanceHead(ctx, "c1", store.Head{Revision: "c2", Parent: "c1"}); err != nil || got.Generation != 2 {
		t.Fatalf("second: %v %+v", err, got)
	}
}

func TestOperators(t *testing.T) {
	s, ctx, now := open(t), t.Context(), time.Unix(1000, 0).UTC()
	ann := store.Operator{Name: "ann", Role: store.RoleAdmin, TokenHash: hash("one"), ExpiresAt: now.Add(time.Minute)}
	if err := s.Operators().Create(ctx, ann); err != nil {
		t.Fatal(err)
	}
	find := func(secret string, at time.Time) (store.Operator, error) {
		return s.OperatorByToken(ctx, hash(secret), at)
	}
	if got, err := find("one", now); err != nil || cmp.Diff(ann, got) != "" {
		t.Fatalf("by token: %v %+v", err, got)
	}
	if _, err := find("two", now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown token: %v", err)
	}
	if _, err := find("one", ann.ExpiresAt); !errors.Is(err, store.ErrTokenExpired) {
		t.Errorf("expired: %v", err)
	}
	if err := s.Operators().Create(ctx, store.Operator{Name: "bob", Role: store.RoleViewer, TokenHash: hash("one")}); !errors.Is(err, store.ErrExists) {
		t.Errorf("the same token twice: %v", err)
	}
	if _, err := s.Operators().Update(ctx, "ann", func(o *store.Operator) error { o.TokenHash = hash("two"); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := find("one", now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("replaced token: %v", err)
	}
	if got, err := find("two", now); err != nil || got.Name != "ann" {
		t.Errorf("new token: %v %+v", err, got)
	}
	// The old one is free for somebody else.
	if err := s.Operators().Create(ctx, store.Operator{Name: "bob", Role: store.RoleViewer, TokenHash: hash("one")}); err != nil {
		t.Error(err)
	}
	if err := s.Operators().Put(ctx, store.Operator{Name: "ann", Role: store.RoleViewer, TokenHash: hash("three")}); err != nil {
		t.Fatal(err)
	}
	if _, err := find("two", now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("token replaced by put: %v", err)
	}
	if err := s.Operators().Delete(ctx, "ann"); err != nil {
		t.Fatal(err)
	}
	if _, err := find("three", now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("token of a deleted operator: %v", err)
	}
}

func TestRemoveNode(t *testing.T) {
	s, ctx, now := open(t), t.Context(), time.Unix(1000, 0).UTC()
	node := store.Node{Name: "a", CertSerial: "02", PrevSerial: "01", CertNotAfter: now.Add(time.Hour)}
	if err := errors.Join(s.Nodes().Create(ctx, node), s.Statuses().Put(ctx, store.Status{Node: "a"})); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveNode(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveNode(ctx, "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("second removal: %v", err)
	}
	if _, err := s.Statuses().Get(ctx, "a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("status of a removed node: %v", err)
	}
	for serial, want := range map[string]bool{"01": true, "02": true, "03": false} {
		if got, err := s.IsRevoked(ctx, serial); err != nil || got != want {
			t.Errorf("%s revoked: %v %v", serial, got, err)
		}
	}
	if n, err := s.Sweep(ctx, now.Add(time.Minute), store.Retention{}); err != nil || n != 0 {
		t.Errorf("early sweep: %d %v", n, err)
	}
	if n, err := s.Sweep(ctx, now.Add(2*time.Hour), store.Retention{}); err != nil || n != 2 {
		t.Errorf("sweep: %d %v", n, err)
	}
	if got, err := s.IsRevoked(ctx, "02"); err != nil || got {
		t.Errorf("revoked after the sweep: %v %v", got, err)
	}
}

func TestRollouts(t *testing.T) {
	s, ctx := open(t), t.Context()
	if _, err := s.CurrentRollout(ctx); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("first: %v", err)
	}
	if _, err := s.StartRollout(ctx, 7, store.Rollout{}); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("after one that is not there: %v", err)
	}
	for i := range int64(60) {
		if _, err := s.StartRollout(ctx, i, store.Rollout{Revision: fmt.Sprint("c", i+1)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.StartRollout(ctx, 59, store.Rollout{}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("second start: %v", err)
	}
	data := []byte("{\"a\":1}\n\x00more")
	updated, err := s.UpdateRollout(ctx, 60, 1, data)
	if err != nil || updated.Generation != 2 {
		t.Fatalf("update: %v %+v", err, updated)
	}
	if _, err := s.UpdateRollout(ctx, 60, 1, []byte("stale")); !errors.Is(err, store.ErrConflict) {
		t.Errorf("stale update: %v", err)
	}
	now, err := s.CurrentRollout(ctx)
	want := store.Rollout{Number: 60, Revision: "c60", Generation: 2, Data: data}
	if diff := cmp.Diff(want, now); err != nil || diff != "" {
		t.Errorf("current: %v %s", err, diff)
	}
	all, err := s.Rollouts(ctx, 0)
	if err != nil || len(all) != 51 || all[50].Number != 10 {
		t.Errorf("history: %v, %d", err, len(all))
	}
}

func TestAudit(t *testing.T) {
	s, ctx, start := open(t), t.Context(), time.Unix(1_000_000, 0).UTC()
	for i := range 25 {
		if err := s.Record(ctx, store.Audit{At: start.Add(time.Duration(i) * time.Hour), Who: "ann", What: fmt.Sprint(i), Result: "ok"}); err != nil {
			t.Fatal(err)
		}
	}
	var whats []string
	before := ""
	for {
		page, err := s.Audit(ctx, 10, before)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, entry := range page {
			whats = append(whats, entry.What)
		}
		before = page[len(page)-1].ID
	}
	if len(whats) != 25 || whats[0] != "24" || whats[24] != "0" || !slices.IsSortedFunc(whats, func(a, b string) int {
		return strings.Compare(fmt.Sprintf("%02s", b), fmt.Sprintf("%02s", a))
	}) {
		t.Errorf("entries: %v", whats)
	}
	if n, err := s.Sweep(ctx, start.Add(24*time.Hour), store.Retention{Age: 20 * time.Hour}); err != nil || n != 4 {
		t.Errorf("sweep by age: %d %v", n, err)
	}
	if n, err := s.Sweep(ctx, start.Add(24*time.Hour), store.Retention{Count: 5}); err != nil || n != 16 {
		t.Errorf("sweep by count: %d %v", n, err)
	}
	left, err := s.Audit(ctx, 0, "")
	if err != nil || len(left) != 5 || left[4].What != "20" {
		t.Errorf("left: %v %+v", err, left)
	}
}
