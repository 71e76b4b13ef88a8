package gate_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/gate"
	"ktrdr.io/fleet/pkg/api"
)

const (
	open  = "registries: [docker.io]\nimages: [docker.io/library/*]\nhostPaths: [{path: %, writable: true}]\nreferences: ['op://v/i/*']\n"
	tight = "registries: [docker.io]\nimages: [docker.io/library/redis]\n"
)

// node is a gate with its file and what it told.
type node struct {
	t       *testing.T
	gate    *gate.Gate
	dir     string
	file    string
	log     *bytes.Buffer
	told    atomic.Pointer[api.Condition]
	changes atomic.Int64
}

func newNode(t *testing.T, text string, follow func(string) (string, error)) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: policy files belong to root")
	}
	n := &node{t: t, dir: t.TempDir(), log: &bytes.Buffer{}}
	n.file = filepath.Join(n.dir, "policy.yaml")
	n.write(text)
	n.start(follow)
	return n
}

func (n *node) write(text string) {
	n.t.Helper()
	if err := os.WriteFile(n.file, []byte(strings.ReplaceAll(text, "%", n.dir)), 0o600); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) start(follow func(string) (string, error)) {
	n.t.Helper()
	var err error
	n.gate, err = gate.New(gate.Config{File: n.file, Log: slog.New(slog.NewTextHandler(n.log, nil)), Follow: follow})
	if err != nil {
		n.t.Fatal(err)
	}
	n.gate.Notify(func(st api.PolicyStatus, c *api.Condition) {
		if !st.Enforced || st.File != n.file || st.LoadedAt.IsZero() {
			n.t.Errorf("status %+v", st)
		}
		n.told.Store(c)
	}, func() { n.changes.Add(1) })
}

// run runs the gate in the bubble until the returned func is called.
func (n *node) run() func() {
	ctx, cancel := context.WithCancel(n.t.Context())
	done := make(chan error, 1)
	go func() { done <- n.gate.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			n.t.Error(err)
		}
	}
}

func stackOf(image, bind string) *api.Stack {
	spec := api.ContainerSpec{Image: image}
	if bind != "" {
		spec.Mounts = []api.Mount{{Type: api.MountBind, Source: bind, Target: "/x"}}
	}
	return &api.Stack{Name: "core", Services: []api.Service{{Name: "web", Replicas: []api.Replica{{Name: "web", Spec: spec}}}}}
}

func TestWithoutFile(t *testing.T) {
	var log bytes.Buffer
	g, err := gate.New(gate.Config{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	stack := stackOf("evil.example.com/x", "/")
	stack.Services[0].Replicas[0].Spec.Privileged = true
	d := &api.Desired{Stacks: []api.Stack{*stack}}
	g.SetDesired(t.Context(), d)
	spec := &stack.Services[0].Replicas[0].Spec
	if g.Denied(&d.Stacks[0]) != nil || g.DeniedOf(t.Context(), d, stack) != nil || !g.AllowsReference("op://a/b/c") ||
		!g.AllowsRegistry("evil.example.com") || g.Admit(t.Context(), "web", spec, nil) != nil {
		t.Error("without a policy something is denied")
	}
	if strings.Count(log.String(), "level=WARN") != 1 || !strings.Contains(log.String(), "policyFile") {
		t.Errorf("log %q, want one warning", log.String())
	}
	g.Notify(func(st api.PolicyStatus, _ *api.Condition) {
		if st.Enforced {
			t.Error("the status says that a policy is enforced")
		}
	}, func() {})
}

func TestBrokenAtStart(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"missing": "", "broken": "images: redis\n", "unknown": "imgaes: []\n"} {
		file := filepath.Join(dir, name)
		if text != "" {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if g, err := gate.New(gate.Config{File: file, Log: slog.New(slog.DiscardHandler)}); err == nil || g != nil {
			t.Errorf("%s: an agent would start without its policy", name)
		}
		if gate.Check(file) == nil {
			t.Errorf("%s: no error of check", name)
		}
	}
}

// A change of the file counts within seconds; a broken one leaves the last good policy in
// force and is told with its place.
func TestFileChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, open, nil)
		d := &api.Desired{Stacks: []api.Stack{*stackOf("postgres:15", "")}}
		n.gate.SetDesired(t.Context(), d)
		defer n.run()()
		denied := func() int { return len(n.gate.Denied(&d.Stacks[0])) }
		look := func() {
			time.Sleep(6 * time.Second) // the bubble's clock
			synctest.Wait()
		}
		if denied() != 0 {
			t.Fatal("denied by a policy that allows it")
		}
		look()
		if n.changes.Load() != 0 {
			t.Error("a look at the same file counts as a change")
		}
		n.write(tight)
		look()
		if denied() != 1 || n.changes.Load() != 1 || n.gate.AllowsReference("op://v/i/f") {
			t.Errorf("%d violations, %d changes after the file was tightened", denied(), n.changes.Load())
		}
		n.write("images:\n- redis\n")
		look()
		c := n.told.Load()
		if c == nil || c.Reason != api.ReasonPolicyInvalid || !strings.Contains(c.Message, n.file+":2:3: images: ") {
			t.Errorf("a broken file is told as %+v", c)
		}
		if denied() != 1 || n.changes.Load() != 1 {
			t.Error("a broken file changed the policy in force")
		}
		if err := os.Remove(n.file); err != nil {
			t.Fatal(err)
		}
		look()
		if denied() != 1 || n.told.Load() == nil {
			t.Error("a file that is gone opened the gate")
		}
		n.write(open)
		n.gate.Reload()
		synctest.Wait()
		if denied() != 0 || n.told.Load() != nil || n.changes.Load() != 2 {
			t.Errorf("%d violations, %v after the file was mended and a reload asked for", denied(), n.told.Load())
		}
		n.write("everything: true\n")
		look()
		if !n.gate.AllowsReference("op://v/i/f") || denied() != 0 || n.told.Load() == nil {
			t.Error("a broken file took away what the last good policy allows")
		}
	})
}

func TestOthersMayNotWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, tight, nil)
		defer n.run()()
		n.write(open)
		if err := os.Chmod(n.file, 0o666); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if n.gate.AllowsReference("op://v/i/f") || n.told.Load() == nil {
			t.Error("a file that everybody may write was put in force")
		}
	})
}

// A container that may write below an allowed path plants a link out of it.
func TestLinksAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, open, nil)
		data := filepath.Join(n.dir, "data")
		stack := stackOf("redis", filepath.Join(data, "new/folder"))
		d := &api.Desired{Stacks: []api.Stack{*stack}}
		n.gate.SetDesired(t.Context(), d)
		defer n.run()()
		spec := &stack.Services[0].Replicas[0].Spec
		if err := n.gate.Admit(t.Context(), "web", spec, nil); err != nil || len(n.gate.Denied(&d.Stacks[0])) != 0 {
			t.Fatalf("a path that does not exist yet: %v, %v", err, n.gate.Denied(&d.Stacks[0]))
		}
		if err := errors.Join(os.Mkdir(data, 0o755), os.Symlink("/etc", filepath.Join(data, "new"))); err != nil {
			t.Fatal(err)
		}
		err := n.gate.Admit(t.Context(), "web", spec, nil)
		if err == nil || !strings.Contains(err.Error(), "a link to /etc/folder") {
			t.Errorf("the start is admitted: %v", err)
		}
		if c, ok := errors.AsType[interface {
			error
			Failure() (api.ErrorClass, api.Reason)
		}](err); !ok {
			t.Error("the error has no class")
		} else if class, reason := c.Failure(); class != api.Waiting || reason != api.ReasonPolicyViolation {
			t.Errorf("class %s, reason %s", class, reason)
		}
		synctest.Wait()
		got := n.gate.Denied(&d.Stacks[0])
		if len(got) != 1 || got[0].Reason != api.ReasonPolicyViolation || got[0].Type != api.ConditionBlocked || n.changes.Load() != 1 {
			t.Errorf("the stack is not blocked: %v, %d changes", got, n.changes.Load())
		}
		if got := n.gate.DeniedOf(t.Context(), d, stack); len(got) != 1 {
			t.Errorf("a plan of it says %v", got)
		}
		if err := errors.Join(os.Remove(filepath.Join(data, "new")), os.Symlink(filepath.Join(data, "gone"), filepath.Join(data, "new"))); err != nil {
			t.Fatal(err)
		}
		if err := n.gate.Admit(t.Context(), "web", spec, nil); err == nil || !strings.Contains(err.Error(), "not there") {
			t.Errorf("a dangling link: %v", err)
		}
	})
}

// A share that hangs holds up the start of what binds it and nothing else, and one lookup
// at a time.
func TestHungShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		var hangs atomic.Bool
		var lookups atomic.Int64
		n := newNode(t, open, func(name string) (string, error) {
			if hangs.Load() {
				lookups.Add(1)
				<-free
			}
			return name, nil
		})
		stack := stackOf("redis", filepath.Join(n.dir, "share"))
		d := &api.Desired{Stacks: []api.Stack{*stack}}
		n.gate.SetDesired(t.Context(), d)
		hangs.Store(true)
		defer n.run()()
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := n.gate.Denied(&d.Stacks[0]); len(got) != 0 {
			t.Errorf("a hung share is a violation: %v", got)
		}
		began := time.Now()
		err := n.gate.Admit(t.Context(), "web", &stack.Services[0].Replicas[0].Spec, nil)
		if err == nil || !strings.Contains(err.Error(), "no answer within 2s") || time.Since(began) > 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		if n := lookups.Load(); n != 1 {
			t.Errorf("%d lookups of one path that hangs", n)
		}
		hangs.Store(false)
		close(free)
	})
}

func TestConditionsAreBounded(t *testing.T) {
	n := newNode(t, "", nil)
	stack := stackOf("redis", "")
	for i := range 50 {
		stack.Services[0].Replicas[0].Spec.CapAdd = append(stack.Services[0].Replicas[0].Spec.CapAdd, strings.Repeat("X", i+1))
	}
	got := n.gate.Denied(stack)
	if len(got) != 21 || !strings.Contains(got[20].Message, "and 32 more") {
		t.Errorf("%d conditions, the last %+v", len(got), got[len(got)-1])
	}
}
