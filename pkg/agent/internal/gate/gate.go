package gate

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/policy"
	"ktrdr.io/fleet/pkg/api"
)

// Config of a Gate.
type Config struct {
	// File is the absolute path of the policy file. Empty lets everything through.
	File string
	// Guarded are paths that give whoever reaches them the node.
	Guarded []string
	Log     *slog.Logger
	// Every is the time between looks at the file and at the links of host paths.
	// Default 5s.
	Every time.Duration
	// Follow tells where a clean path of the host leads. It may hang. Default: as the file
	// system says.
	Follow func(name string) (string, error)
}

// Gate holds the node's policy against the desired state. All methods are safe for
// concurrent use, but Notify must be called before Run.
type Gate struct {
	cfg     Config
	links   *linkReader
	guarded []string
	bell    chan struct{}
	read    func(api.PolicyStatus, *api.Condition)
	changed func()

	mu       sync.Mutex
	policy   *policy.Policy
	loadedAt time.Time
	stamp    string // of the file that was read last, good or bad
	desired  *api.Desired
	leads    map[string]string // where the paths of desired lead
	verdicts map[*api.Stack][]api.Condition
}

const defaultEvery = 5 * time.Second

// New reads the policy file, where there is one: an agent does not start without the
// policy that it shall enforce.
func New(cfg Config) (*Gate, error) {
	if cfg.Follow == nil {
		cfg.Follow = leadsTo
	}
	g := &Gate{
		cfg: cfg, links: newLinkReader(cfg.Follow), bell: make(chan struct{}, 1), verdicts: map[*api.Stack][]api.Condition{},
		read: func(api.PolicyStatus, *api.Condition) {}, changed: func() {},
	}
	if cfg.Every <= 0 {
		g.cfg.Every = defaultEvery
	}
	if cfg.File == "" {
		cfg.Log.Warn("no policy file: this node accepts whatever the desired state asks for", "fix", "set policyFile in the agent's configuration")
		return g, nil
	}
	g.guarded = guardedPaths(cfg)
	g.stamp = stampOf(cfg.File)
	var err error
	if g.policy, err = policy.Read(cfg.File); err != nil {
		return nil, err
	}
	g.loadedAt = time.Now()
	return g, nil
}

// Notify sets who is told of the policy in force, with the reason why the file can't be
// used, if so; and who is told that answers may have changed.
func (g *Gate) Notify(read func(api.PolicyStatus, *api.Condition), changed func()) {
	g.read, g.changed = read, changed
	g.mu.Lock()
	defer g.mu.Unlock()
	read(g.status(), nil)
}

// Check reads a policy file, without putting it in force.
func Check(file string) error {
	_, err := policy.Read(file)
	return err
}

// guardedPaths are the engine's sockets, the policy file and what the caller names, by
// their names and by where those lead.
func guardedPaths(cfg Config) []string {
	paths := append([]string{
		"/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/var/run/containerd/containerd.sock",
		"/run/podman/podman.sock", "/var/run/podman/podman.sock", filepath.Clean(cfg.File),
	}, cfg.Guarded...)
	for _, name := range slices.Clone(paths) {
		if target, err := leadsTo(name); err == nil {
			paths = append(paths, target)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// Reload asks for a look at the file now. It returns at once.
func (g *Gate) Reload() {
	select {
	case g.bell <- struct{}{}:
	default:
	}
}

// Run looks at the file and at links until ctx ends.
func (g *Gate) Run(ctx context.Context) error {
	if g.cfg.File == "" {
		<-ctx.Done()
		return nil
	}
	ticker := time.NewTicker(g.cfg.Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			g.look(ctx, stampOf(g.cfg.File))
		case <-g.bell:
			g.look(ctx, "")
		}
	}
}

// look reads the file again unless it is the one with the stamp, and follows links anew.
func (g *Gate) look(ctx context.Context, stamp string) {
	g.mu.Lock()
	same, d := stamp != "" && stamp == g.stamp, g.desired
	g.mu.Unlock()
	changed := false
	if !same {
		changed = g.reload()
	}
	if d != nil {
		changed = g.follow(ctx, d) || changed
	}
	if changed {
		g.changed()
	}
}

// reload reads the file. One that can't be used leaves the last good policy in force.
func (g *Gate) reload() bool {
	stamp := stampOf(g.cfg.File)
	read, err := policy.Read(g.cfg.File)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stamp = stamp
	if err != nil {
		g.read(g.status(), &api.Condition{
			Type: api.ConditionDegraded, Status: true, Reason: api.ReasonPolicyInvalid,
			Message: fmt.Sprintf("the policy read at %s stays in force: %s", g.loadedAt.Format(time.RFC3339), firstLines(err)),
		})
		return false
	}
	g.policy, g.loadedAt = read, time.Now()
	clear(g.verdicts)
	g.read(g.status(), nil)
	g.cfg.Log.Info("policy read", "file", g.cfg.File)
	return true
}

// status is the policy in force. The caller holds the lock, or is alone.
func (g *Gate) status() api.PolicyStatus {
	return api.PolicyStatus{Enforced: g.cfg.File != "", File: g.cfg.File, LoadedAt: g.loadedAt}
}

// SetDesired takes a desired state before anything is planned for it.
func (g *Gate) SetDesired(ctx context.Context, d *api.Desired) {
	g.mu.Lock()
	g.desired = d
	clear(g.verdicts)
	g.mu.Unlock()
	if g.cfg.File != "" {
		g.follow(ctx, d)
	}
}

// follow looks where the host paths of the desired state lead and tells whether that
// changed. What can't be told keeps its last answer: a hung share must not turn into a
// violation, and starts look again by themselves.
func (g *Gate) follow(ctx context.Context, d *api.Desired) bool {
	var paths []string
	for i := range d.Stacks {
		paths = append(paths, policy.Paths(&d.Stacks[i])...)
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	found := g.links.readAll(ctx, paths)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.desired != d {
		return false
	}
	leads := map[string]string{}
	for _, name := range paths {
		if target, ok := found[name]; ok {
			leads[name] = target
		} else if target, ok := g.leads[name]; ok {
			leads[name] = target
		}
	}
	if maps.Equal(leads, g.leads) {
		return false
	}
	g.leads = leads
	clear(g.verdicts)
	return true
}

// maxLines bounds what a condition repeats of an error.
const maxLines = 5

func firstLines(err error) string {
	lines := strings.Split(err.Error(), "\n")
	if len(lines) <= maxLines {
		return strings.Join(lines, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(lines[:maxLines], "; "), len(lines)-maxLines)
}

// stampOf changes when the file does.
func stampOf(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return "no file: " + err.Error()
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.ModTime().String()
	}
	return fmt.Sprint(stat.Dev, stat.Ino, stat.Mode, stat.Uid, stat.Size, stat.Mtim, stat.Ctim)
}
