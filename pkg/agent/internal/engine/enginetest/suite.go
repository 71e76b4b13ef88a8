package enginetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// Reader is what an engine tells.
type Reader interface {
	List(ctx context.Context) (engine.List, error)
	InspectContainer(ctx context.Context, id string) (*api.Container, error)
	InspectNetwork(ctx context.Context, id string) (*api.Network, error)
	InspectVolume(ctx context.Context, name string) (*api.Volume, error)
	EventLog
}

// EventLog is what an engine tells of what happens in it.
type EventLog interface {
	Events(ctx context.Context, since time.Time) (<-chan engine.Event, <-chan error)
	PastEvents(ctx context.Context) ([]engine.Event, error)
}

// Images is what concerns images, and what an engine tells beside its state.
type Images interface {
	Info(ctx context.Context) (api.Engine, error)
	InspectImage(ctx context.Context, ref, platform string) (*api.Image, error)
	Pull(ctx context.Context, r engine.PullRequest) error
	MeasureContainer(ctx context.Context, id string) (int64, error)
	Logs(ctx context.Context, id string, tail int) (string, error)
}

// Life is what moves a container through its states.
type Life interface {
	Start(ctx context.Context, id string) error
	Stop(ctx context.Context, r engine.StopRequest) error
	Restart(ctx context.Context, r engine.StopRequest) error
	Remove(ctx context.Context, id string) error
	Unpause(ctx context.Context, id string) error
}

// Edits is what makes and changes a container.
type Edits interface {
	Create(ctx context.Context, r engine.CreateRequest) (string, error)
	CopyFiles(ctx context.Context, id string, files []api.File) error
	Rename(ctx context.Context, id, name string) error
	Update(ctx context.Context, r engine.UpdateRequest) error
	Exec(ctx context.Context, r engine.ExecRequest) (engine.ExecResult, error)
}

// Resources is what concerns networks and volumes.
type Resources interface {
	CreateNetwork(ctx context.Context, spec api.NetworkSpec, labels map[string]string) (string, error)
	RemoveNetwork(ctx context.Context, id string) error
	Connect(ctx context.Context, r engine.ConnectRequest) error
	Disconnect(ctx context.Context, networkID, containerID string) error
	CreateVolume(ctx context.Context, spec api.VolumeSpec, labels map[string]string) error
}

// Engine is all that the client can do. Consumers declare the part that they use.
type Engine interface {
	Reader
	Images
	Life
	Edits
	Resources
}

// Person does by hand what the agent never does.
type Person interface {
	// Kill is `docker kill`, Pause is `docker pause`.
	Kill(ctx context.Context, id string) error
	Pause(ctx context.Context, id string) error
	// End kills the process of a container from outside of the engine.
	End(ctx context.Context, id string) error
}

// Subject is an engine to be examined.
type Subject struct {
	Engine
	Person
	// Image runs the test program, with the defaults that Docker.LoadImage gives it.
	Image string
	// Prefix begins all names; what has it is removed before and after by the harness.
	Prefix string
	// Subnet is free for a network of the suite, such as "10.213.7.0/24".
	Subnet string
	// Port is a free host port.
	Port string
	// MissingPath does not exist on the engine's host.
	MissingPath string
}

// Harness runs one test on a fresh subject; in a synctest bubble if it likes.
type Harness func(t *testing.T, test func(t *testing.T, s *Subject))

// Run examines an engine. What it passes, callers may rely on.
func Run(t *testing.T, harness Harness) {
	t.Helper()
	for _, group := range [][]check{lifeChecks(), endChecks(), networkChecks(), contentChecks(), errorChecks()} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) { harness(t, c.test) })
		}
	}
}

type check struct {
	name string
	test func(t *testing.T, s *Subject)
}

// patience is how long a state may take to show.
const patience = time.Minute

// eventually polls until done is true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !done() {
		sleep(ctx, 20*time.Millisecond)
		if ctx.Err() != nil {
			t.Fatalf("never saw: %s", what)
		}
	}
}

func (s *Subject) request(name string, command ...string) engine.CreateRequest {
	return engine.CreateRequest{
		Name:   s.Prefix + name,
		Spec:   api.ContainerSpec{Image: s.Image, Command: command},
		Labels: map[string]string{api.LabelProject: s.Prefix + "project"},
	}
}

func (s *Subject) create(t *testing.T, r engine.CreateRequest) string {
	t.Helper()
	id, err := s.Create(t.Context(), r)
	require(t, err)
	return id
}

func (s *Subject) run(t *testing.T, r engine.CreateRequest) string {
	t.Helper()
	id := s.create(t, r)
	require(t, s.Start(t.Context(), id))
	return id
}

func (s *Subject) inspect(t *testing.T, id string) *api.Container {
	t.Helper()
	c, err := s.InspectContainer(t.Context(), id)
	require(t, err)
	for network, live := range c.Attached {
		if network == live.Name {
			list, err := s.List(t.Context())
			require(t, err)
			engine.ResolveNetworks(c, slices.Values(list.Networks))
			break
		}
	}
	return c
}

func (s *Subject) network(t *testing.T, name string, change ...func(*api.NetworkSpec)) string {
	t.Helper()
	spec := api.NetworkSpec{Name: s.Prefix + name, Driver: "bridge"}
	for _, do := range change {
		do(&spec)
	}
	id, err := s.CreateNetwork(t.Context(), spec, s.owner())
	require(t, err)
	return id
}

func (s *Subject) owner() map[string]string {
	return map[string]string{api.LabelStack: s.Prefix + "stack"}
}

// awaitState waits for a state and returns the container in it.
func (s *Subject) awaitState(t *testing.T, id string, want api.ContainerState) *api.Container {
	t.Helper()
	var c *api.Container
	eventually(t, "container in state "+string(want), func() bool {
		c = s.inspect(t, id)
		return c.State == want
	})
	return c
}

func require(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// requireError fails unless err is want, with want's reason unless that is empty.
func requireError(t *testing.T, err, want error, reason api.Reason) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
	e, ok := errors.AsType[*engine.Error](err)
	if !ok {
		t.Fatalf("error %v is no *engine.Error", err)
	}
	if e.Op == "" || e.Class == "" || e.Reason == "" {
		t.Errorf("error %#v lacks what was done, a class or a reason", e)
	}
	if reason != "" && e.Reason != reason {
		t.Errorf("reason is %s, want %s (%v)", e.Reason, reason, err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

// follow collects the actions of the events of containers and networks whose names have
// the prefix, until the test ends.
func (s *Subject) follow(t *testing.T, since time.Time) (seen func() []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	events, errs := s.Events(ctx, since)
	t.Cleanup(func() {
		cancel()
		if err := <-errs; err == nil {
			t.Error("the event stream ended without an error")
		}
	})
	var actions []string
	return func() []string {
		for {
			select {
			case ev := <-events:
				if ev.Type == "container" && strings.HasPrefix(ev.Attributes["name"], s.Prefix) {
					actions = append(actions, ev.Action)
				}
			default:
				return actions
			}
		}
	}
}
