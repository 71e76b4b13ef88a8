package sim_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// keeper is the agent's memory of kept secrets, with the moments in which it can die.
type keeper struct{ n *node }

func (k keeper) SetKept(key string, kept api.Kept) error {
	if err := k.n.failed("before", "SetKept", key); err != nil {
		return err
	}
	k.n.memory.mu.Lock()
	k.n.memory.kept[key] = kept
	k.n.memory.mu.Unlock()
	k.n.cache.SetKept(key, kept)
	return k.n.failed("after", "SetKept", key)
}

// resumeKept does what an agent does at its start.
func (n *node) resumeKept() {
	n.memory.mu.Lock()
	defer n.memory.mu.Unlock()
	for key, kept := range n.memory.kept {
		n.cache.SetKept(key, kept)
	}
	n.ram.mu.Lock()
	clear(n.ram.offered)
	held := map[string]bool{}
	for _, content := range n.ram.folders {
		for _, text := range content.Values {
			held[text] = true
		}
	}
	n.ram.mu.Unlock()
	for _, kept := range n.memory.kept {
		for _, digest := range []string{kept.Accepted, kept.Tried} {
			if text := strings.TrimPrefix(digest, "v1:"); held[text] {
				n.vault.Restore(secretRef, text)
			}
		}
	}
}

// database is what a database makes of its password: its first start applies what it gets,
// later ones don't, and its rotation command does.
type database struct {
	mu sync.Mutex
	// password in force; empty before the first start.
	password string
	// had are all passwords that were in force.
	had []string
	// broken makes the command fail, before or after its effect.
	broken func() (before, after bool)
	// accepted is told of each new password; unready is what the backend's healthcheck says.
	accepted func()
	unready  bool
	runs     int
}

func (d *database) accept(password string) {
	d.password = password
	d.had = append(d.had, password)
}

// command is what runs in containers of the simulation.
func (d *database) command(_ *api.Container, r engine.ExecRequest) engine.ExecResult {
	d.mu.Lock()
	defer d.mu.Unlock()
	if last := r.Command[len(r.Command)-1]; last != "alter" {
		return engine.ExecResult{ExitCode: map[bool]int{true: 1}[last == "ready" && d.unready]}
	}
	d.runs++
	before, after := false, false
	if d.broken != nil {
		before, after = d.broken()
	}
	if before {
		return engine.ExecResult{ExitCode: 1, Output: "role does not exist"}
	}
	d.accept(r.Stdin)
	if d.accepted != nil {
		d.accepted()
	}
	if after {
		return engine.ExecResult{ExitCode: 2, Output: "connection lost"}
	}
	return engine.ExecResult{}
}

// rotating is a node with a database and those who use it in two stacks.
type rotating struct {
	*node
	db      *database
	created map[string]int
	faults  []string
	mu      sync.Mutex
}

func newRotating(t *testing.T, seed uint64) *rotating {
	r := &rotating{node: newNode(t, seed), db: &database{}, created: map[string]int{}}
	r.fake.Command = r.db.command
	r.watch(nil)
	return r
}

// notes collects what calls that run beside each other have to say.
type notes struct {
	mu  sync.Mutex
	all string
}

func (n *notes) add(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all += text
}

func (n *notes) text() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.all
}

// watch sees every call; next, if any, may fail it.
func (r *rotating) watch(next fault) {
	r.fault.Store(new(fault(func(when, method, object string) error {
		r.see(when, method, object)
		if next != nil {
			return next(when, method, object)
		}
		return nil
	})))
}

func (r *rotating) see(when, method, object string) {
	if when != "after" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch method {
	case "Create":
		_, name, long := strings.Cut(object, "_")
		if !long {
			name = object
		}
		r.created[name]++
	case "Write":
		r.ram.mu.Lock()
		value := r.ram.folders[object].Values[secretRef]
		r.ram.mu.Unlock()
		r.db.mu.Lock()
		defer r.db.mu.Unlock()
		switch isDB := strings.HasPrefix(object, "p-db-1."); {
		case isDB && r.db.password == "":
			r.db.accept(value)
		case !isDB && r.db.password != "" && !slices.Contains(r.db.had, value):
			r.faults = append(r.faults, fmt.Sprintf("%s got %s, which the database never accepted: %v", object, value, r.db.had))
		}
	}
}

// rotatingState is the desired state; command "" declares none.
func rotatingState(revision, marker, command string) *api.Desired {
	uses := func(s *api.ContainerSpec) {
		s.Command = []string{"serve"}
		s.Env = []string{"MARK=" + marker, "URL=db://" + api.Placeholder(secretRef) + "@db"}
	}
	d := desired(revision,
		service("api", func(svc *api.Service, s *api.ContainerSpec) {
			uses(s)
			svc.OwnHealthcheck = true
			s.Healthcheck = &api.Healthcheck{Test: []string{"CMD", "ready"}, Interval: 10e9, Retries: 3}
			svc.DependsOn = []api.Dependency{{Service: "db", Condition: api.ServiceHealthy, Required: true}}
		}),
		service("db", func(svc *api.Service, s *api.ContainerSpec) {
			svc.OwnHealthcheck, s.Command = true, []string{"serve"}
			s.Env = []string{"POSTGRES_PASSWORD=" + api.Placeholder(secretRef)}
			s.Healthcheck = &api.Healthcheck{Test: []string{"CMD", "true"}, Interval: 10e9, Retries: 3}
			s.Mounts = []api.Mount{{Type: api.MountVolume, Source: "p_data", Target: "/data"}}
			kept := api.KeptSecret{Ref: secretRef, Variable: "POSTGRES_PASSWORD", Timeout: 30 * time.Second}
			if command != "" {
				kept.Exec = []string{command}
			}
			svc.Keeps = []api.KeptSecret{kept}
		}),
		service("worker", func(svc *api.Service, s *api.ContainerSpec) {
			uses(s)
			svc.DependsOn = []api.Dependency{{Service: "api", Condition: api.ServiceStarted, Required: true}}
		}),
	)
	other := desired(revision, service("app", func(_ *api.Service, s *api.ContainerSpec) {
		uses(s)
		s.Endpoints = nil
	}))
	other.Stacks[0].Name, other.Stacks[0].Project, other.Stacks[0].Networks, other.Stacks[0].Volumes = "t", "q", nil, nil
	other.Stacks[0].Services[0].Replicas[0].Name = "q-app-1"
	d.Stacks = append(d.Stacks, other.Stacks[0])
	return d
}

var rotatingNames = []string{"p-api-1", "p-worker-1", "q-app-1"} //nolint:gochecknoglobals // of the state above

func (r *rotating) set(value string) {
	r.vault.set(value)
	r.loop.Ring("")
	time.Sleep(time.Millisecond)
}

// check is what has to hold when nothing is left to do.
func (r *rotating) check(value string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.faults) > 0 {
		return fmt.Errorf("%s", strings.Join(r.faults, "; "))
	}
	if r.db.password != value {
		return fmt.Errorf("the database has %s, wanted %s", r.db.password, value)
	}
	r.ram.keepHouse()
	r.ram.mu.Lock()
	defer r.ram.mu.Unlock()
	if len(r.ram.offered) > 0 {
		return fmt.Errorf("values of a rotation are left: %v", r.ram.offered)
	}
	for _, c := range r.fake.Truth().Containers {
		if got := r.ram.folders[c.Labels[api.LabelSecretFolder]].Values[secretRef]; got != value {
			return fmt.Errorf("container %s has %s, wanted %s", c.Name, got, value)
		}
	}
	return nil
}

func (r *rotating) conditions(stack string) string {
	r.report.mu.Lock()
	defer r.report.mu.Unlock()
	return fmt.Sprintf("%+v", r.report.plans[stack].Status)
}

// value is what a container reads.
func (r *rotating) value(name string) string {
	for _, c := range r.fake.Truth().Containers {
		if c.Name == name {
			return r.ram.reads(c)
		}
	}
	return ""
}

func (r *rotating) mark(name string) string {
	for _, c := range r.fake.Truth().Containers {
		if c.Name == name {
			return c.Spec.Env[slices.IndexFunc(c.Spec.Env, func(kv string) bool { return strings.HasPrefix(kv, "MARK=") })]
		}
	}
	return ""
}

// reads is the value that a container reads.
func (r *ram) reads(c *api.Container) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.folders[c.Labels[api.LabelSecretFolder]].Values[secretRef]
}
