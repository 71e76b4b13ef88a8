package repo_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/controller/repo"
	"ktrdr.io/fleet/pkg/desired/edit"
	"ktrdr.io/fleet/pkg/source"
)

// forge is a remote repository behind TLS, served by git's own program, and somebody's clone.
type forge struct {
	*work
	bare   string
	server *httptest.Server
	source source.GitConfig
}

func newForge(t *testing.T) *forge {
	t.Helper()
	f := &forge{work: newWork(t)}
	f.bare = filepath.Join(f.home, "srv", "fleet.git")
	f.git("init", "-q", "--bare", "-b", "main", f.bare)
	f.git("--git-dir", f.bare, "config", "http.receivepack", "true")
	f.sample()
	f.git("remote", "add", "origin", f.bare)
	f.git("push", "-q", "origin", "main")
	programs, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path:   filepath.Join(strings.TrimSpace(string(programs)), "git-http-backend"),
		Env:    []string{"GIT_PROJECT_ROOT=" + filepath.Dir(f.bare), "GIT_HTTP_EXPORT_ALL=1", "HOME=" + f.home, "GIT_CONFIG_NOSYSTEM=1", "REMOTE_USER=x"},
		Stderr: io.Discard, Logger: log.New(io.Discard, "", 0),
	}
	f.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "forge-token" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	f.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	f.server.StartTLS()
	t.Cleanup(f.server.Close)
	ca := filepath.Join(f.home, "ca.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.server.Certificate().Raw})
	if err := os.WriteFile(ca, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f.source = source.GitConfig{
		URL:  f.server.URL + "/fleet.git",
		HTTP: source.HTTPAuth{CAFile: ca, Token: func() (string, error) { return "forge-token", nil }},
	}
	return f
}

func (f *forge) tip() string { return f.git("--git-dir", f.bare, "rev-parse", "main") }

// follow opens a copy with a gate of its own, or with one that others share.
func (f *forge) follow(t *testing.T, g *gate) *repo.Followed {
	t.Helper()
	followed, err := repo.OpenFollowed(t.Context(), repo.FollowedConfig{
		Dir: filepath.Join(t.TempDir(), "copy"), Source: f.source, Gate: g, Head: g.head,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := followed.Close(); err != nil {
			t.Error(err)
		}
	})
	return followed
}

func TestFollow(t *testing.T) {
	f, g := newForge(t), newGate(t)
	followed := f.follow(t, g)
	if _, err := followed.Head(t.Context()); !errors.Is(err, repo.ErrEmpty) {
		t.Errorf("head before the first look: %v", err)
	}
	first, err := followed.Sync(t.Context())
	if err != nil || first != f.tip() || g.pushes()[0].Who.Name != "Ann" || g.pushes()[0].From != f.source.URL {
		t.Fatalf("%s, %v, %+v", first, err, g.pushes())
	}
	f.replace("nodes/b.yaml", "backtest: 1", "backtest: 7")
	f.commit("bad")
	f.git("push", "-q", "origin", "main")
	for range 2 {
		var refusal *repo.Refusal
		if _, err := followed.Sync(t.Context()); !errors.As(err, &refusal) || !strings.HasPrefix(refusal.Lines[0], "nodes/b.yaml:16:5: ") {
			t.Fatalf("a commit that is invalid: %v", err)
		}
	}
	if _, err := followed.Change(t.Context(), scale("bob", 3)); err == nil || !strings.Contains(err.Error(), "is refused") {
		t.Errorf("a change on top of what is refused: %v", err)
	}
	f.replace("nodes/b.yaml", "backtest: 7", "backtest: 2")
	good := f.commit("good")
	f.git("push", "-q", "origin", "main")
	if id, err := followed.Sync(t.Context()); err != nil || id != good {
		t.Fatalf("%s, %v", id, err)
	}
	commits, err := followed.History(t.Context(), repo.HistoryQuery{})
	if err != nil || len(commits) != 3 || commits[0].ID != good {
		t.Errorf("history %v, %v", commits, err)
	}
	if diff, err := followed.Diff(t.Context(), first, good); err != nil || !strings.Contains(diff.Text, "+    backtest: 2") {
		t.Errorf("diff %+v, %v", diff, err)
	}
	f.git("reset", "-q", "--hard", first)
	f.commit("rewritten")
	f.git("push", "-q", "-f", "origin", "main")
	if _, err := followed.Sync(t.Context()); err == nil || !strings.Contains(err.Error(), "no longer has the accepted commit "+good[:10]) {
		t.Errorf("a branch that was rewritten: %v", err)
	}
}

func TestFollowedChange(t *testing.T) {
	f, g := newForge(t), newGate(t)
	followed := f.follow(t, g)
	first := f.tip()
	made, err := followed.Change(t.Context(), scale("bob", 3))
	if err != nil || f.tip() != made.ID || made.Author.Name != "bob" || made.Parents[0] != first {
		t.Fatalf("%+v, %v, tip %s", made, err, f.tip())
	}
	if head, err := followed.Head(t.Context()); err != nil || head.ID != made.ID {
		t.Errorf("head %+v, %v", head, err)
	}
	if again, err := followed.Change(t.Context(), scale("bob", 3)); err != nil || again.ID != made.ID {
		t.Errorf("the same change again: %+v, %v", again, err)
	}
	back, err := followed.Rollback(t.Context(), repo.Change{Who: repo.Who{Name: "cat"}}, first)
	if err != nil || f.tip() != back.ID {
		t.Fatalf("%+v, %v", back, err)
	}
	// A second controller that shares the store but not the disk.
	other := f.follow(t, g)
	if head, err := other.Head(t.Context()); err != nil || head.ID != back.ID {
		t.Errorf("head elsewhere: %+v, %v", head, err)
	}
	if tree, err := other.Tree(t.Context(), made.ID); err != nil || tree.Revision.ID != made.ID {
		t.Errorf("tree elsewhere: %+v, %v", tree, err)
	}
	if _, err := other.Tree(t.Context(), strings.Repeat("1", 40)); !errors.Is(err, repo.ErrUnknownRevision) {
		t.Errorf("a tree of nothing: %v", err)
	}
	if err := other.Prune(); err != nil {
		t.Error(err)
	}
}

// TestFollowedChangeIsDoneAgain when somebody pushes between the look and the push.
func TestFollowedChangeIsDoneAgain(t *testing.T) {
	f, g := newForge(t), newGate(t)
	followed := f.follow(t, g)
	calls := 0
	change := scale("bob", 3)
	plain := change.Edit
	change.Edit = func(ctx context.Context, head source.Tree) ([]edit.Edit, string, error) {
		if calls++; calls == 1 {
			f.replace("nodes/b.yaml", "description: worker LXC", "description: by Ann")
			f.commit("ann is faster")             //nolint:contextcheck // a test's git
			f.git("push", "-q", "origin", "main") //nolint:contextcheck // a test's git
		}
		return plain(ctx, head)
	}
	made, err := followed.Change(t.Context(), change)
	if err != nil || calls != 2 || f.tip() != made.ID {
		t.Fatalf("%+v, %v, %d calls", made, err, calls)
	}
	tree, err := followed.Tree(t.Context(), made.ID)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(tree.Dir, "nodes/b.yaml"))
	if err != nil || !strings.Contains(string(data), "by Ann") || !strings.Contains(string(data), "backtest: 3") {
		t.Errorf("one of the two changes is lost: %v\n%s", err, data)
	}
	if refused := f.tipOf("bob"); refused != 1 {
		t.Errorf("bob's change is on the branch %d times", refused)
	}
}

// TestFollowedChangeIsOvertaken: between a push and the move of the head another controller finds
// the commit, accepts it and makes the next change.
// TestFollowedChangeNeverGetsItsTurn: others hold the remote's branch at each try. That is what
// ErrHeadMoved says, whatever the remote calls it.
func TestFollowedChangeNeverGetsItsTurn(t *testing.T) {
	f, g := newForge(t), newGate(t)
	followed := f.follow(t, g)
	if err := os.WriteFile(filepath.Join(f.bare, "refs", "heads", "main.lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := f.tip()
	if made, err := followed.Change(t.Context(), scale("bob", 3)); !errors.Is(err, repo.ErrHeadMoved) || f.tip() != before {
		t.Errorf("%+v, %v", made, err)
	}
}

func TestFollowedChangeIsOvertaken(t *testing.T) {
	f, g := newForge(t), newGate(t)
	followed, other := f.follow(t, g), f.follow(t, &gate{file: g.file})
	var next repo.Commit
	accepts := 0
	g.accept = func(repo.Push) error {
		var err error
		if accepts++; accepts == 2 { // the first one is that of the branch as it was
			next, err = other.Change(context.WithoutCancel(t.Context()), scale("ann", 2))
		}
		return err
	}
	made, err := followed.Change(t.Context(), scale("bob", 3))
	if err != nil || made.Author.Name != "bob" || len(next.Parents) != 1 || next.Parents[0] != made.ID || f.tip() != next.ID {
		t.Errorf("%+v, %v, then %+v, tip %s", made, err, next, f.tip())
	}
	if times := f.tipOf("bob"); times != 1 {
		t.Errorf("bob's change is on the branch %d times", times)
	}
	if text := f.git("--git-dir", f.bare, "show", "main:nodes/b.yaml"); !strings.Contains(text, "backtest: 2") {
		t.Errorf("what ann asked for later is undone:\n%s", text)
	}
}

func (f *forge) tipOf(author string) int {
	return strings.Count(f.git("--git-dir", f.bare, "log", "--format=%an", "main"), author)
}

// TestFollowedChangesAtOnce: two controllers with one store and one remote repository.
func TestFollowedChangesAtOnce(t *testing.T) {
	f, g := newForge(t), newGate(t)
	g.check = func(context.Context, repo.Push, func(string)) error { return nil }
	controllers := []*repo.Followed{f.follow(t, g), f.follow(t, g)}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			change := scale(fmt.Sprintf("op%d", i), 0)
			change.Edit = func(_ context.Context, head source.Tree) ([]edit.Edit, string, error) {
				before, err := os.ReadFile(filepath.Join(head.Dir, "fleet.yaml"))
				line := fmt.Sprintf("# op%d\n", i)
				if strings.Contains(string(before), line) {
					return nil, "", err
				}
				return []edit.Edit{{Path: "fleet.yaml", Before: before, After: []byte(string(before) + line)}}, "note", err
			}
			for range 10 {
				if _, err := controllers[i%2].Change(t.Context(), change); err == nil {
					return
				} else if !errors.Is(err, repo.ErrHeadMoved) && source.ReasonOf(err) != source.ReasonMoved {
					t.Error(err)
					return
				}
			}
			t.Errorf("op%d never came through", i)
		})
	}
	wg.Wait()
	text := f.git("--git-dir", f.bare, "show", "main:fleet.yaml")
	for i := range 4 {
		if strings.Count(text, fmt.Sprintf("# op%d", i)) != 1 {
			t.Errorf("op%d is lost or doubled:\n%s", i, text)
		}
	}
	if head, err := g.head(t.Context()); err != nil || head != f.tip() {
		t.Errorf("head %s, tip %s, %v", head, f.tip(), err)
	}
}

func TestRun(t *testing.T) {
	f, g := newForge(t), newGate(t)
	followed, err := repo.OpenFollowed(t.Context(), repo.FollowedConfig{
		Dir: filepath.Join(t.TempDir(), "copy"), Source: f.source, Gate: g, Head: g.head, Interval: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	first := f.tip()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { followed.Run(ctx); close(done) }()
	waitFor(t, func() bool { head, err := g.head(ctx); return err == nil && head == first })
	second := f.commit("second")
	f.git("push", "-q", "origin", "main")
	followed.Ring()
	followed.Ring()
	waitFor(t, func() bool { head, err := g.head(ctx); return err == nil && head == second })
	cancel()
	<-done
	if err := followed.Close(); err != nil {
		t.Error(err)
	}
}

func waitFor(t *testing.T, what func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !what(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not happen within a minute")
		}
	}
}

func TestFollowedConfig(t *testing.T) {
	f, g := newForge(t), newGate(t)
	for name, change := range map[string]func(*repo.FollowedConfig){
		"no folder":  func(c *repo.FollowedConfig) { c.Dir = "" },
		"no gate":    func(c *repo.FollowedConfig) { c.Gate = nil },
		"sub-folder": func(c *repo.FollowedConfig) { c.Source.Path = "x" },
		"no url":     func(c *repo.FollowedConfig) { c.Source.URL = "" },
		"a folder":   func(c *repo.FollowedConfig) { c.Source.URL = f.bare },
		"interval":   func(c *repo.FollowedConfig) { c.Interval = time.Millisecond },
	} {
		cfg := repo.FollowedConfig{Dir: filepath.Join(t.TempDir(), "copy"), Source: f.source, Gate: g, Head: g.head}
		change(&cfg)
		if _, err := repo.OpenFollowed(t.Context(), cfg); err == nil {
			t.Errorf("%s: is accepted", name)
		}
	}
	signed := f.source
	signed.Signatures = source.Signatures{Required: true, AllowedSignersFile: filepath.Join(f.home, "signers")}
	followed, err := repo.OpenFollowed(t.Context(), repo.FollowedConfig{Dir: filepath.Join(t.TempDir(), "copy"), Source: signed, Gate: g, Head: g.head})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := followed.Change(t.Context(), scale("bob", 3)); err == nil || !strings.Contains(err.Error(), "must be signed") {
		t.Errorf("an unsigned change: %v", err)
	}
}
