package observe

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// Engine is what the cache needs of an engine. Every method has to end when ctx does.
type Engine interface {
	List(ctx context.Context) (engine.List, error)
	InspectContainer(ctx context.Context, id string) (*api.Container, error)
	InspectNetwork(ctx context.Context, id string) (*api.Network, error)
	InspectVolume(ctx context.Context, name string) (*api.Volume, error)
	EventLog
}

// EventLog is what an engine tells of what happens in it.
type EventLog interface {
	// Events delivers events from since on (engine's clock) until exactly one error is sent.
	Events(ctx context.Context, since time.Time) (<-chan engine.Event, <-chan error)
	// PastEvents is what the engine remembers of its past, the oldest first.
	PastEvents(ctx context.Context) ([]engine.Event, error)
}

// Config steers a Cache. The zero value of a field means its default.
type Config struct {
	// Relist is the period of the full list that finds lost events. Default 5 minutes.
	Relist time.Duration
	// InspectTimeout bounds one inspection; a container that exceeds it gets
	// Facts.Unresponsive. Default 5 s.
	InspectTimeout time.Duration
	// UnresponsiveRetry is the wait before an unresponsive container is inspected again;
	// it doubles up to eight times itself. Default 10 s.
	UnresponsiveRetry time.Duration
	// Parallel bounds the inspections under way. Default 8.
	Parallel int
	// Skew is how far the engine's clock may be behind ours: events are asked for from
	// that long before the list, where the list does not tell the engine's time. Default 30 s.
	Skew time.Duration
	// ProcRoot is where processes are looked up. Default /proc.
	ProcRoot string
	// Logger gets debug lines on what was missed and warnings on lost connections. Default: none.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	orDuration := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	orDuration(&c.Relist, 5*time.Minute)
	orDuration(&c.InspectTimeout, 5*time.Second)
	orDuration(&c.UnresponsiveRetry, 10*time.Second)
	orDuration(&c.Skew, 30*time.Second)
	if c.Parallel <= 0 {
		c.Parallel = 8
	}
	if c.ProcRoot == "" {
		c.ProcRoot = "/proc"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Cache is the observed state of one engine. All methods may be called from any
// goroutine, before, during and after Run.
type Cache struct {
	engine Engine
	cfg    Config
	log    *slog.Logger

	current    atomic.Pointer[api.Observed]
	connection atomic.Pointer[connection]
	bells      atomic.Pointer[[]func(project string)]
	deaths     *deathWatch
	slots      chan struct{}
	slowSlots  chan struct{}
	wake       chan struct{}
	suspect    chan struct{}

	mu sync.Mutex
	// seq numbers inspections and lists in the order in which they began.
	seq uint64
	// lists counts those under way.
	lists   int
	records map[key]*record
	dirty   []key
	due     map[key]time.Time
	// own are the containers that the agent itself changes now.
	own map[string]*ownChange
	// pending holds facts of containers that were not observed yet.
	pending map[string]pendingFacts
	// pulls outlives dropped entries of Observed.Images.
	pulls map[string]pull
	// connections counts those that were lost; boot is when the machine started; reach is
	// how far the engine remembers, zero when back to its own start.
	connections uint64
	boot        time.Time
	reach       time.Time
}

type connection struct {
	up    bool
	since time.Time
	err   error
}

// New returns a cache that knows nothing until Run.
func New(e Engine, cfg Config) *Cache {
	cfg = cfg.withDefaults()
	c := &Cache{
		engine:    e,
		cfg:       cfg,
		log:       cfg.Logger,
		slots:     make(chan struct{}, cfg.Parallel),
		slowSlots: make(chan struct{}, 2),
		wake:      make(chan struct{}, 1),
		suspect:   make(chan struct{}, 1),
		records:   map[key]*record{},
		due:       map[key]time.Time{},
		own:       map[string]*ownChange{},
		pending:   map[string]pendingFacts{},
		pulls:     map[string]pull{},
		boot:      bootTime(cfg.ProcRoot),
	}
	c.deaths = newDeathWatch(cfg.ProcRoot, cfg.Logger, c.died)
	c.connection.Store(&connection{since: time.Now()})
	c.bells.Store(&[]func(string){})
	c.current.Store(&api.Observed{
		Containers: map[string]*api.Container{},
		Networks:   map[string]*api.Network{},
		Volumes:    map[string]*api.Volume{},
		Images:     map[string]*api.Image{},
		Mounts:     map[string]api.MountState{},
		Failures:   map[string]api.Failure{},
		Jobs:       map[string]string{},
		Holds:      map[string]api.Hold{},
		Rollouts:   map[string]*api.Rollout{},
		Folders:    map[string]string{},
		Kept:       map[string]api.Kept{},
	})
	return c
}

// Run lists, follows the events, relists, and connects again when the engine went away,
// until ctx ends. It returns ctx's error once all its goroutines ended. Call it once.
func (c *Cache) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.connect(ctx) })
	g.Go(func() error { return c.dispatch(ctx) })
	g.Go(func() error { return c.deaths.run(ctx) })
	return g.Wait()
}

// Snapshot returns the newest observed state. It is immutable and costs one atomic load.
// While the engine is away it is the last known state: see Connected.
func (c *Cache) Snapshot() *api.Observed { return c.current.Load() }

// Connected tells whether the engine answered and its events are followed, since when
// that is so, and why not.
func (c *Cache) Connected() (up bool, since time.Time, err error) {
	conn := c.connection.Load()
	return conn.up, conn.since, conn.err
}

// Subscribe adds a bell. It is called after a change was published, with the Compose
// project of a changed container, or "" when the change may concern any project: a
// container of no project, a network, volume or image, a relist, the connection. A
// project that the receiver does not manage may free a name or a port that it waits
// for. The bell is called from many goroutines, under no lock, and must not block.
func (c *Cache) Subscribe(bell func(project string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	bells := append(slices.Clone(*c.bells.Load()), bell)
	c.bells.Store(&bells)
}

func (c *Cache) ring(projects []string) {
	for _, project := range projects {
		for _, bell := range *c.bells.Load() {
			bell(project)
		}
	}
}

// anyProject is what a bell gets when the change may concern every project.
const anyProject = ""

// change runs fn on a copy of the newest state. fn replaces the maps that it changes,
// never writes into them, and returns whether to publish the copy and whom to ring.
func (c *Cache) change(fn func(next *api.Observed) (publish bool, bells []string)) {
	c.mu.Lock()
	next := *c.current.Load()
	publish, bells := fn(&next)
	if publish {
		c.current.Store(&next)
	}
	c.mu.Unlock()
	c.ring(bells)
}
