package doctor

import (
	"context"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// Engine is what the checks ask of the container engine.
type Engine interface {
	Facts(ctx context.Context) (engine.Facts, error)
	InspectImage(ctx context.Context, ref, platform string) (*api.Image, error)
}

// Config is where the checks look. Parts that are nil or empty are not checked.
type Config struct {
	Engine Engine
	// Containers are those of the engine by name, for ports that are taken by what holds
	// them rightly. Nil: nothing is known.
	Containers func() map[string]*api.Container
	// Canary starts a container and removes it.
	Canary *Canary
	// Registry tells the digest of an image in its registry, with the login that a pull
	// would use.
	Registry func(ctx context.Context, image Image) (digest string, err error)
	// OwnNetwork says that the agent does not see the ports of the machine.
	OwnNetwork bool
	// Mounts probes a required mount.
	Mounts func(ctx context.Context, m api.RequiredMount) api.MountState
	// Secrets tells about the references of a desired state after asking their providers.
	Secrets func(ctx context.Context, d *api.Desired) api.SecretsStatus
	// Policy returns what the node's policy has against a stack.
	Policy func(ctx context.Context, d *api.Desired, s *api.Stack) []api.Condition
	// PolicyStatus tells whether a policy is in force.
	PolicyStatus func() api.PolicyStatus
	// Folders that have to have room.
	Folders []Folder
	// Certificates whose end matters.
	Certificates []Certificate
	// Source tells of the last look at the source: its condition, when it is bad.
	Source func() (at time.Time, c *api.Condition)
	// Resolver looks names up. Default: the system's.
	Resolver *net.Resolver
	// Delivery tells what keeps secrets from being delivered as files.
	Delivery func() error
}

// Request says what is checked.
type Request struct {
	// Desired is the state whose needs are checked; nil leaves those checks out.
	Desired *api.Desired
	// Canary starts a container.
	Canary bool
}

// limit is how long one group of checks may take.
const limit = 30 * time.Second

// group is a set of rows that one function finds.
type group struct {
	name string
	run  func(ctx context.Context, req Request, emit func(api.Check))
	// after is a group before this one, by whose end it begins; empty for none.
	after string
}

// Run makes all checks and calls emit for each row, one at a time, in an order that is the
// same every time. It returns when all are done or ctx ends.
func Run(ctx context.Context, cfg Config, req Request, emit func(api.Check)) {
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	groups := cfg.groups()
	rows := make([]chan api.Check, len(groups))
	ended := map[string]chan struct{}{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := range rows {
		rows[i], ended[groups[i].name] = make(chan api.Check, 64), make(chan struct{})
	}
	go func() {
		for i := range groups {
			g.Go(func() error {
				defer close(rows[i])
				defer close(ended[groups[i].name])
				if after := groups[i].after; after != "" {
					<-ended[after] // it has a limit of its own
				}
				runGroup(ctx, groups[i], req, rows[i])
				return nil
			})
		}
	}()
	for i := range rows {
		for row := range rows[i] {
			emit(row)
		}
	}
	_ = g.Wait()
}

func (c *Config) groups() []group {
	return []group{
		{name: "engine", run: c.engine},
		{name: "canary", run: c.canary},
		{name: "disk", run: c.disk},
		{name: "clock", run: c.clock},
		{name: "source", run: c.source},
		{name: "policy", run: c.policy},
		{name: "certificates", run: c.certificates},
		{name: "secrets", run: c.secrets},
		{name: "mounts", run: c.mounts},
		{name: "ports", run: c.ports},
		{name: "names", run: c.names},
		{name: "images", run: c.images, after: "secrets"}, // asked with the logins that were just looked at
	}
}

// runGroup gives each row the time since the one before, and tells of a group that takes
// too long.
func runGroup(ctx context.Context, g group, req Request, rows chan<- api.Check) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	last := time.Now()
	g.run(ctx, req, func(row api.Check) {
		if row.Took == 0 {
			row.Took = time.Since(last)
		}
		last = time.Now()
		rows <- row
	})
	if ctx.Err() != nil {
		rows <- api.Check{
			Name: g.name, Result: api.CheckFail, Message: fmt.Sprintf("not done within %s", limit),
			Fix: "look whether the machine is overloaded or a file system hangs", Took: limit,
		}
	}
}

// row makes a row by name and subject.
func row(name, subject string, result api.CheckResult, format string, args ...any) api.Check {
	return api.Check{Name: name, Subject: subject, Result: result, Message: fmt.Sprintf(format, args...)}
}

// fixed adds what to do about it.
func fixed(c api.Check, format string, args ...any) api.Check {
	c.Fix = fmt.Sprintf(format, args...)
	return c
}
