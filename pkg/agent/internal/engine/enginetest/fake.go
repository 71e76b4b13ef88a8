package enginetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// Hook is called around the calls of a Fake, under no lock: it may block, call the fake,
// and fail the call with the error that it returns.
type Hook func(method, object string) error

// Fake is an engine in memory. Its methods are those of engine.Client and may be called
// from any goroutine; the fields are set before the first call.
type Fake struct {
	// OnCall runs before a call has any effect: an error prevents it.
	OnCall Hook
	// AfterCall runs after the effect: an error hides a success from the caller.
	AfterCall Hook
	// Program tells how a container's process behaves at each start; nil means Interpret.
	// It must not call the fake.
	Program func(*api.Container) Program
	// Command runs an exec or a healthcheck; nil means the commands of the test program.
	// It must not call the fake.
	Command func(c *api.Container, r engine.ExecRequest) engine.ExecResult
	// ListPatience is how long List waits for a frozen container.
	ListPatience time.Duration

	mu     sync.Mutex
	seed   uint64
	rng    *rand.Rand
	agenda agenda
	clock  time.Time
	made   map[string]int
	pids   int
	subnet int

	containers map[string]*container
	networks   map[string]*network
	volumes    map[string]*api.Volume
	images     map[string]*localImage
	registry   map[string]remoteImage
	busyPorts  map[string]bool
	missing    map[string]bool
	hungMounts map[string]bool
	health     map[string][]bool

	bus   bus
	power power
	calls []Call
}

// Call is one call that reached the fake, failed ones included.
type Call struct{ Method, Object string }

// New returns a running engine that holds the predefined networks and nothing else. All
// ids follow from the seed and the order of calls for one name.
func New(seed uint64) *Fake {
	f := &Fake{
		ListPatience: 10 * time.Second,
		seed:         seed,
		rng:          rand.New(rand.NewPCG(seed, 0)), //nolint:gosec // replayable on purpose
		made:         map[string]int{},
		containers:   map[string]*container{},
		networks:     map[string]*network{},
		volumes:      map[string]*api.Volume{},
		images:       map[string]*localImage{},
		registry:     map[string]remoteImage{},
		busyPorts:    map[string]bool{},
		missing:      map[string]bool{},
		hungMounts:   map[string]bool{},
		health:       map[string][]bool{},
	}
	f.bus.streams = map[*stream]bool{}
	f.power.changed = make(chan struct{})
	for _, name := range []string{"bridge", "host", "none"} {
		driver := name
		if name == "none" {
			driver = "null"
		}
		f.addNetwork(api.NetworkSpec{Name: name, Driver: driver})
	}
	return f
}

// Info tells what the engine is.
func (f *Fake) Info(ctx context.Context) (api.Engine, error) {
	var info api.Engine
	err := f.call(ctx, request{"Info", "", "read engine"}, func() error {
		info = api.Engine{Reachable: true, Version: "20.10.24", APIVersion: "1.41", Driver: "overlay2"}
		return nil
	})
	return info, err
}

// request names a call for hooks, counters and errors.
type request struct{ method, object, op string }

// call runs effect under the lock, with hooks and faults around it.
func (f *Fake) call(ctx context.Context, req request, effect func() error) error {
	if err := f.enter(ctx, req); err != nil {
		return err
	}
	f.mu.Lock()
	err := effect()
	f.mu.Unlock()
	return f.leave(req, err)
}

func (f *Fake) enter(ctx context.Context, req request) error {
	f.mu.Lock()
	f.calls = append(f.calls, Call{req.method, req.object})
	f.mu.Unlock()
	if f.OnCall != nil {
		if err := f.OnCall(req.method, req.object); err != nil {
			return err
		}
	}
	return f.awaitPower(ctx, req)
}

func (f *Fake) leave(req request, err error) error {
	if err != nil {
		return f.explain(req, err)
	}
	if f.AfterCall != nil {
		return f.AfterCall(req.method, req.object)
	}
	return nil
}

// refusal is an error of the engine with what the client makes of it.
type refusal struct {
	sentinel error
	class    api.ErrorClass
	reason   api.Reason
	text     string
}

func (r *refusal) Error() string { return r.text }

func refuse(sentinel error, format string, args ...any) error {
	r := &refusal{sentinel: sentinel, class: api.Transient, reason: api.ReasonEngineFailed, text: fmt.Sprintf(format, args...)}
	switch {
	case errors.Is(sentinel, engine.ErrInvalid):
		r.class = api.Terminal
	case errors.Is(sentinel, engine.ErrDenied):
		r.class = api.Waiting
	case errors.Is(sentinel, engine.ErrTimeout):
		r.reason = api.ReasonEngineHung
	case errors.Is(sentinel, engine.ErrUnreachable):
		r.reason = api.ReasonEngineDown
	}
	return r
}

// refuseFor is refuse with a class and a reason of its own.
func refuseFor(sentinel error, class api.ErrorClass, reason api.Reason, text string) error {
	return &refusal{sentinel: sentinel, class: class, reason: reason, text: text}
}

func (f *Fake) explain(req request, err error) error {
	r, ok := errors.AsType[*refusal](err)
	if !ok {
		return err
	}
	cause := errors.New(r.text)
	if r.sentinel != nil {
		cause = fmt.Errorf("%w: %s", r.sentinel, r.text)
	}
	return &engine.Error{Op: req.op, Object: req.object, Class: r.class, Reason: r.reason, Err: cause}
}

// id returns 64 hex digits that depend on the seed, the name and how often it was used.
func (f *Fake) id(kind, name string) string {
	k := kind + "/" + name
	f.made[k]++
	sum := sha256.Sum256(fmt.Appendf(nil, "%d/%s/%d", f.seed, k, f.made[k]))
	return hex.EncodeToString(sum[:])
}

// now is the engine's clock. No two readings are equal, so that a start can be told from
// the next one even when virtual time stands still. f.mu is held.
func (f *Fake) now() time.Time {
	t := time.Now().Round(0).UTC()
	if !t.After(f.clock) {
		t = f.clock.Add(1)
	}
	f.clock = t
	return t
}
