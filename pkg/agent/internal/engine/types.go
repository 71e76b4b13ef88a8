package engine

import (
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Event is one message of the engine's event stream, reduced to what a cache needs.
// Events are hints: the object is inspected again before anybody decides anything.
type Event struct {
	// Type is "container", "network", "volume", "image" or "daemon".
	Type string
	// Action is the engine's word: create, start, die, kill, stop, destroy, rename,
	// update, health_status, connect, disconnect, pull, tag, untag, delete, reload…
	Action string
	// ID is the container's or network's id, the volume's name or the image's reference.
	ID string
	// Attributes are the engine's own, labels of the container included.
	Attributes map[string]string
	Time       time.Time
}

// List is everything an engine holds, read in one pass. Containers are inspected;
// one whose inspection timed out has Facts.Unresponsive set and only what the list knew.
type List struct {
	Containers []*api.Container
	Networks   []*api.Network
	Volumes    []*api.Volume
}

// CreateRequest asks for one container. Everything in it is final: secret values are
// filled in (see References), repository files have a host path, service: references are ids.
type CreateRequest struct {
	Name string
	// Spec with Mounts whose Repo sources were replaced by host paths (Source set, Repo nil),
	// NetworkMode/IpcMode/PidMode "container:<id>", VolumesFrom "<id>[:ro]", Links
	// "<container name>:<alias>", Image the reference or id to run.
	Spec api.ContainerSpec
	// Labels are Compose's and ours; they win over Spec.Labels.
	Labels map[string]string
	// InheritVolumes maps container path to the anonymous volume of the predecessor.
	InheritVolumes map[string]string
	// References says that ktrdr-exec is the entrypoint and fills in what environment and
	// healthcheck have references for.
	References bool
}

// PullRequest asks for an image. Username and Password are used for this request only.
type PullRequest struct {
	Ref      string
	Platform string
	Username string
	Password string
}

// StopRequest asks a container to end. Grace nil means the container's own StopTimeout,
// else the engine's default; less than a second is honoured too.
type StopRequest struct {
	ID     string
	Signal string
	Grace  *time.Duration
}

// ExecRequest runs a command inside a container and waits for its end.
type ExecRequest struct {
	ID         string
	Command    []string
	User       string
	WorkingDir string
	Env        []string
	Privileged bool
	// Stdin is the command's standard input, which ends after it; empty means none.
	Stdin string
	// MaxOutput cuts the captured output, in bytes; 0 means 4096.
	MaxOutput int
}

// ExecResult is the end of an ExecRequest.
type ExecResult struct {
	ExitCode int
	Output   string // stdout and stderr in order of arrival, cut to MaxOutput
}

// UpdateRequest changes limits and restart policy of a container in place.
type UpdateRequest struct {
	ID        string
	Resources api.Resources
	Restart   api.RestartPolicy
}

// ConnectRequest attaches a container to a network.
type ConnectRequest struct {
	NetworkID, ContainerID string
	Endpoint               api.Endpoint
}
