package repo_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/controller/repo"
	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/desired/edit"
	"ktrdr.io/fleet/pkg/source"
)

func TestEmptyRepository(t *testing.T) {
	g := newGate(t)
	h := open(t, config(t, g))
	if _, err := h.Head(t.Context()); !errors.Is(err, repo.ErrEmpty) {
		t.Errorf("head: %v", err)
	}
	if commits, err := h.History(t.Context(), repo.HistoryQuery{}); err != nil || len(commits) > 0 {
		t.Errorf("history: %v %v", commits, err)
	}
	if _, err := h.Resolve(t.Context(), "0000"); !errors.Is(err, repo.ErrEmpty) {
		t.Errorf("resolve: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
}

// scale is a change as a command makes it.
func scale(who string, size int) repo.Change {
	return repo.Change{
		Who: repo.Who{Name: who, Email: who + "@example.org"}, From: "192.0.2.1",
		Edit: func(_ context.Context, head source.Tree) ([]edit.Edit, string, error) {
			result, err := edit.SetScale(head.Dir, edit.Scale{Node: "b", Pool: "backtest", Size: size})
			if err != nil || len(result.Edits) == 0 {
				return nil, "", err
			}
			return result.Edits, result.Edits[0].Summary, nil
		},
	}
}

func TestChangeHistoryDiffRollback(t *testing.T) {
	h, g, first := seeded(t)
	head, err := h.Head(t.Context())
	if err != nil || head.ID != first || head.Author.Name != "Ann" {
		t.Fatalf("head %+v, %v", head, err)
	}
	said := &lines{}
	change := scale("bob", 3)
	change.Progress = said.add
	changed, err := h.Change(t.Context(), change)
	if err != nil || !strings.Contains(said.text(), "warning: nodes/b.yaml:11:5: spec.capacity.memory: less than 10 % of the memory") {
		t.Fatalf("%v, said %q", err, said.text())
	}
	if changed.Message != "scale backtest=3 on node b (was 1)" || changed.Author != (repo.Who{Name: "bob", Email: "bob@example.org"}) || changed.Parents[0] != first {
		t.Errorf("commit %+v", changed)
	}
	want := repo.Push{Old: first, New: changed.ID, Who: changed.Author, From: "192.0.2.1"}
	if diff := cmp.Diff(want, g.pushes()[1]); diff != "" {
		t.Error(diff)
	}
	tree, err := h.Tree(t.Context(), changed.ID)
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := desired.Load(t.Context(), desired.Request{Root: tree.Dir, Node: "b"})
	if err != nil || len(d.Stacks[0].Services) != 4 {
		t.Errorf("node b has %v, %v", d, err)
	}
	same, err := h.Change(t.Context(), scale("bob", 3))
	if err != nil || same.ID != changed.ID {
		t.Errorf("the same change again: %+v, %v", same, err)
	}
	diff, err := h.Diff(t.Context(), first, changed.ID)
	if err != nil || diff.Truncated || !strings.Contains(diff.Text, "-    backtest: 1\n+    backtest: 3\n") {
		t.Errorf("diff %+v, %v", diff, err)
	}
	back, err := h.Rollback(t.Context(), repo.Change{Who: repo.Who{Name: "cat"}}, first[:8])
	if err != nil || back.Parents[0] != changed.ID || !strings.HasPrefix(back.Subject(), "Roll back to "+first[:10]+": sample") {
		t.Fatalf("rollback %+v, %v", back, err)
	}
	if diff, err := h.Diff(t.Context(), first, back.ID); err != nil || diff.Text != "" {
		t.Errorf("after the rollback: %+v, %v", diff, err)
	}
	if again, err := h.Rollback(t.Context(), repo.Change{Who: repo.Who{Name: "cat"}}, first); err != nil || again.ID != back.ID {
		t.Errorf("rollback to what is there: %+v, %v", again, err)
	}
	checkHistory(t, h, []string{back.ID, changed.ID, first})
	if err := h.Prune(back.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(tree.Dir); !os.IsNotExist(err) {
		t.Errorf("the pruned tree: %v", err)
	}
}

func checkHistory(t *testing.T, h *repo.Hosted, all []string) {
	t.Helper()
	for _, c := range []struct {
		q    repo.HistoryQuery
		want []string
	}{
		{repo.HistoryQuery{}, all},
		{repo.HistoryQuery{Limit: 1}, all[:1]},
		{repo.HistoryQuery{Before: all[0]}, all[1:]},
		{repo.HistoryQuery{Before: all[2]}, nil},
		{repo.HistoryQuery{Path: "nodes/b.yaml"}, all},
		{repo.HistoryQuery{Path: "nodes/"}, all},
		{repo.HistoryQuery{Path: "fleet.yaml"}, all[2:]},
		{repo.HistoryQuery{Path: "*"}, nil},
		{repo.HistoryQuery{Path: "--all"}, nil},
	} {
		commits, err := h.History(t.Context(), c.q)
		var got []string
		for _, commit := range commits {
			got = append(got, commit.ID)
		}
		if err != nil || !cmp.Equal(got, c.want) {
			t.Errorf("history %+v: %v, %v, want %v", c.q, got, err, c.want)
		}
	}
	for _, rev := range []string{"", "HEAD", "main", "--all", "zzzz", strings.Repeat("0", 40), all[0][:3], "0000"} {
		if _, err := h.Resolve(t.Context(), rev); !errors.Is(err, repo.ErrUnknownRevision) {
			t.Errorf("resolve %q: %v", rev, err)
		}
		if _, err := h.Diff(t.Context(), all[0], rev); !errors.Is(err, repo.ErrUnknownRevision) {
			t.Errorf("diff with %q: %v", rev, err)
		}
	}
}

// TestChangeIsRefused leaves head and branch where they are.
func TestChangeIsRefused(t *testing.T) {
	h, g, first := seeded(t)
	_, err := h.Change(t.Context(), repo.Change{
		Who: repo.Who{Name: "bob"},
		Edit: func(_ context.Context, head source.Tree) ([]edit.Edit, string, error) {
			result, err := edit.SetTag(head.Dir, edit.Target{Stack: "core"}, "latest")
			return result.Edits, "deploy", err
		},
	})
	const want = "stacks/core/stack.yaml:13:5: spec.variables.IMAGE_TAG: "
	var refusal *repo.Refusal
	if !errors.As(err, &refusal) || len(refusal.Lines) != 1 || !strings.HasPrefix(refusal.Lines[0], want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if head, err := h.Head(t.Context()); err != nil || head.ID != first || len(g.pushes()) != 1 {
		t.Errorf("head %+v, %v", head, err)
	}
	for name, c := range map[string]repo.Change{
		"no author": {Edit: scale("", 2).Edit},
		"an error": {Who: repo.Who{Name: "bob"}, Edit: func(context.Context, source.Tree) ([]edit.Edit, string, error) {
			return nil, "", errors.New("no")
		}},
		"a new file": changeOf(edit.Edit{Path: "new", After: []byte("x")}),
		"outside":    changeOf(edit.Edit{Path: "../x", After: []byte("x")}),
		"stale":      changeOf(edit.Edit{Path: "fleet.yaml", Before: []byte("old"), After: []byte("x")}),
		"a folder":   changeOf(edit.Edit{Path: "nodes", After: []byte("x")}),
	} {
		if _, err := h.Change(t.Context(), c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func changeOf(e edit.Edit) repo.Change {
	return repo.Change{Who: repo.Who{Name: "bob"}, Edit: func(context.Context, source.Tree) ([]edit.Edit, string, error) {
		return []edit.Edit{e}, "x", nil
	}}
}

// TestChangesAtOnce loses none.
func TestChangesAtOnce(t *testing.T) {
	h, _, _ := seeded(t)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			change := scale(fmt.Sprintf("op%d", i), 0)
			change.Edit = func(_ context.Context, head source.Tree) ([]edit.Edit, string, error) {
				before, err := os.ReadFile(filepath.Join(head.Dir, "fleet.yaml"))
				return []edit.Edit{{Path: "fleet.yaml", Before: before, After: fmt.Appendf(slices.Clip(before), "# op%d\n", i)}}, "note", err
			}
			if _, err := h.Change(t.Context(), change); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	head, err := h.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tree, err := h.Tree(t.Context(), head.ID)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(tree.Dir, "fleet.yaml"))
	for i := range 6 {
		if err != nil || !strings.Contains(string(data), fmt.Sprintf("# op%d\n", i)) {
			t.Errorf("op%d is lost: %v", i, err)
		}
	}
}

// TestSettle brings the branch after the head, and says what is wrong when it can't.
func TestSettle(t *testing.T) {
	g := newGate(t)
	cfg := config(t, g)
	first := seed(t, cfg.Dir)
	h := open(t, cfg)
	second, err := h.Commit(t.Context(), first, nil, repo.Who{Name: "bob"}, "crash before the branch moved")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(g.file, []byte(second), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.Dir, "desired-state.git/refs/heads/main.lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h = open(t, cfg)
	if head, err := h.Head(t.Context()); err != nil || head.ID != second {
		t.Errorf("head %+v, %v", head, err)
	}
	w := newWork(t)
	if got := w.git("--git-dir", filepath.Join(cfg.Dir, "desired-state.git"), "rev-parse", "main"); got != second {
		t.Errorf("the branch is at %s, the head at %s", got, second)
	}
	if err := os.WriteFile(g.file, []byte(strings.Repeat("1", 40)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := repo.OpenHosted(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "restore the folder") {
		t.Errorf("a head without its commit: %v", err)
	}
}

func TestDiffIsBounded(t *testing.T) {
	g := newGate(t)
	cfg := config(t, g)
	cfg.Limits.MaxDiffBytes = 100
	first := seed(t, cfg.Dir)
	diff, err := open(t, cfg).Diff(t.Context(), "", first)
	if err != nil || !diff.Truncated || len(diff.Text) != 100 {
		t.Errorf("%d bytes, truncated %t, %v", len(diff.Text), diff.Truncated, err)
	}
}

func TestConfig(t *testing.T) {
	g := newGate(t)
	for name, change := range map[string]func(*repo.HostedConfig){
		"no folder": func(c *repo.HostedConfig) { c.Dir = "" },
		"no gate":   func(c *repo.HostedConfig) { c.Gate = nil },
		"no head":   func(c *repo.HostedConfig) { c.Head = nil },
		"branch":    func(c *repo.HostedConfig) { c.Branch = "../x" },
		"option":    func(c *repo.HostedConfig) { c.Branch = "--x" },
		"limits":    func(c *repo.HostedConfig) { c.Limits.MaxPushBytes = -1 },
		"program":   func(c *repo.HostedConfig) { c.Git = "no-such-git" },
	} {
		cfg := config(t, g)
		change(&cfg)
		if _, err := repo.OpenHosted(t.Context(), cfg); err == nil {
			t.Errorf("%s: is accepted", name)
		}
	}
}
