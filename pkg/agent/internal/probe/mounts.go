package probe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// HelperCommand is the first argument that makes the agent's binary run RunMountHelper.
const HelperCommand = "probe-mount"

const defaultMountTimeout = 5 * time.Second

// Prober probes required mounts. Mounts is the real one.
type Prober interface {
	// Probe returns within the mount's Timeout (5 s when 0) or when ctx ends.
	Probe(ctx context.Context, mount api.RequiredMount) api.MountState
}

// Config of Mounts. The zero value is right in the agent.
type Config struct {
	// Helper is the command that probes one mount, see RunMountHelper. Default: the
	// running binary with HelperCommand.
	Helper []string
	// MountInfo is the table of mounts. Default: /proc/self/mountinfo.
	MountInfo string
	// MaxEntries of a folder of backups. Default: 100,000.
	MaxEntries int
}

// Mounts probes required mounts with helper processes, at most one for each path at a
// time. All methods are safe for concurrent use.
type Mounts struct {
	config Config
	log    *slog.Logger

	mu   sync.Mutex
	runs map[string]*run // by path
}

var _ Prober = (*Mounts)(nil)

// NewMounts makes a prober. The error says that the running binary can't be found.
func NewMounts(config Config, log *slog.Logger) (*Mounts, error) {
	if len(config.Helper) == 0 {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find the helper that probes mounts: %w", err)
		}
		config.Helper = []string{self, HelperCommand}
	}
	if config.MountInfo == "" {
		config.MountInfo = "/proc/self/mountinfo"
	}
	if config.MaxEntries == 0 {
		config.MaxEntries = defaultMaxEntries
	}
	return &Mounts{config: config, log: log, runs: map[string]*run{}}, nil
}

// Hung counts the helpers that were given up and still exist.
func (m *Mounts) Hung() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	hung := 0
	for _, r := range m.runs {
		if r.abandoned {
			hung++
		}
	}
	return hung
}

// Probe implements Prober: the path is a mount point of the wanted type, its file system
// answers, and is writable and of the right group where that is asked for. Reasons: MountMissing,
// MountTimeout, MountNotWritable, MountWrongGroup; NotObserved when that can't be told.
func (m *Mounts) Probe(ctx context.Context, mount api.RequiredMount) api.MountState {
	reason, message := m.probe(ctx, mount)
	return api.MountState{OK: reason == "", Reason: reason, Message: message, CheckedAt: time.Now()}
}

func (m *Mounts) probe(ctx context.Context, mount api.RequiredMount) (api.Reason, string) {
	kind, reason, message := m.mounted(mount)
	if reason != "" {
		return reason, message
	}
	timeout := mount.Timeout
	if timeout <= 0 {
		timeout = defaultMountTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errSlow)
	defer cancel()
	answer, err := m.ask(ctx, request{
		Path: mount.Path, Writable: mount.Writable, GID: mount.GID, Timeout: timeout,
	})
	if err != nil {
		reason = api.ReasonNotObserved
		if errors.Is(err, errSlow) {
			reason = api.ReasonMountHung
		}
		return reason, fmt.Sprintf("%s (%s): %v", mount.Path, kind, err)
	}
	if answer.Reason == "" && kind == "autofs" && mount.Type != "autofs" {
		// The helper's access made the automounter mount the real thing, or not.
		if kind, reason, message = m.mounted(mount); reason == "" && kind == "autofs" {
			return api.ReasonMountMissing, fmt.Sprintf("the automounter of %s mounted nothing there: check its map and the file server", mount.Path)
		}
		return reason, message
	}
	return answer.Reason, answer.Message
}

// mounted looks the path up in the table of mounts, which touches no file system. An
// automounter's trigger passes as what it may become.
func (m *Mounts) mounted(mount api.RequiredMount) (kind string, reason api.Reason, message string) {
	kind, found, err := mountedType(m.config.MountInfo, mount.Path)
	switch {
	case err != nil:
		return "", api.ReasonNotObserved, fmt.Sprintf("can't tell whether %s is mounted: %v", mount.Path, err)
	case !found:
		return "", api.ReasonMountMissing, fmt.Sprintf("nothing is mounted at %s: run `mount %s`, and check /etc/fstab and the file server", mount.Path, mount.Path)
	case kind != "autofs" && !typeMatches(mount.Type, kind):
		return kind, api.ReasonMountMissing, fmt.Sprintf("%s has a file system of type %s, wanted is %s: mount the right one over it", mount.Path, kind, mount.Type)
	}
	return kind, "", ""
}

// typeMatches: "nfs" matches nfs4 too. FUSE names are "fuse.<subtype>".
func typeMatches(want, have string) bool {
	return want == "" || want == have || want == "nfs" && have == "nfs4" || want == "fuse" && strings.HasPrefix(have, "fuse.")
}
