package api

import "time"

// Observed is what one engine was seen to hold, with what the agent itself knows about
// it. It is immutable; a change makes a new one. Maps must not be written by readers.
type Observed struct {
	// Complete is false until the first full list succeeded: nothing is pruned before.
	Complete bool
	// Containers of the whole engine, by id, foreign ones included.
	Containers map[string]*Container
	// Networks by id and Volumes by name, of the whole engine.
	Networks map[string]*Network
	Volumes  map[string]*Volume
	// Images by the reference that was looked up.
	Images map[string]*Image
	// ImageEpoch counts the engine's image events: a look at an image that began in an
	// earlier epoch may be outdated.
	ImageEpoch uint64
	// Mounts by path of the required mounts that were probed.
	Mounts map[string]MountState
	// Failures by operation key (plan.Op.Key): what failed lately and when it may be tried again.
	Failures map[string]Failure
	// Jobs that ended with exit code 0, by JobKey, although their container may be gone.
	Jobs map[string]string
	// Holds by stack name.
	Holds map[string]Hold
	// Rollouts by stack name.
	Rollouts map[string]*Rollout
	// Kept secrets by KeptKey.
	Kept map[string]Kept
	// Folders are the complete secret folders of the node by name (LabelSecretFolder), with
	// the digest of what each holds.
	Folders map[string]string
	// DeliveryFault says why no secret can be delivered as a file; empty when that works.
	DeliveryFault string
}

// ContainerState is the engine's word for the life of a container.
type ContainerState string

// States of a container, in the engine's words.
const (
	StateCreated    ContainerState = "created"
	StateRunning    ContainerState = "running"
	StatePaused     ContainerState = "paused"
	StateRestarting ContainerState = "restarting"
	StateRemoving   ContainerState = "removing"
	StateExited     ContainerState = "exited"
	StateDead       ContainerState = "dead"
)

// Health is the result of a healthcheck.
type Health string

// Results of a healthcheck. HealthNone means that there is none.
const (
	HealthNone      Health = ""
	HealthStarting  Health = "starting"
	HealthHealthy   Health = "healthy"
	HealthUnhealthy Health = "unhealthy"
)

// Container is one container as inspected.
type Container struct {
	ID      string
	Name    string // without the leading slash
	Created time.Time
	Labels  map[string]string
	// Image is the reference it was created with, ImageID what the engine resolved it to.
	Image   string
	ImageID string

	State      ContainerState
	ExitCode   int
	OOMKilled  bool
	Error      string // the engine's own error text, e.g. of a failed start
	Pid        int
	StartedAt  time.Time
	FinishedAt time.Time
	// Restarts counts the engine's own restarts.
	Restarts int
	Health   Health
	// HealthLog is the last output of the healthcheck, cut to 512 bytes.
	HealthLog string

	// Spec is the container's configuration read back in the terms of a ContainerSpec,
	// image defaults included, for adoption and drift. Engine-made values (addresses,
	// generated names) are left out.
	Spec ContainerSpec
	// Attached lists the networks it is connected to, by network id.
	Attached map[string]Attachment
	// AnonymousVolumes maps container path to the name of the anonymous volume there.
	AnonymousVolumes map[string]string

	Facts ContainerFacts
}

// Attachment is a live connection of a container to a network.
type Attachment struct {
	Name    string // the network's name
	Aliases []string
	IPv4    string // configured address, empty when the engine chose it
	IPv6    string
	Address string // the address in use, for probes
	Mac     string
}

// ContainerFacts is what the agent knows about a container beyond the engine's words.
type ContainerFacts struct {
	// SpecHash replaces the label for adopted containers, whose labels can't be written.
	SpecHash string
	// SecretDigest likewise.
	SecretDigest string
	// ProbedHealthy is the StartedAt for which the container's own healthcheck, run by
	// the agent, or the stack's probe succeeded.
	ProbedHealthy time.Time
	// Registration is nil before the first look, and where nothing is declared.
	Registration *RegistrationFact
	// HealthyAt is when the container was first seen running and healthy; zero when it was
	// so before the agent looked.
	HealthyAt time.Time
	// ProbedSince is when this agent began to probe the present run; before StartedAt when it
	// has not begun.
	ProbedSince time.Time
	// ProbedUnhealthy is set while the stack's probe fails often enough in a row, in the run
	// of ProbedHealthy.
	ProbedUnhealthy bool
	// ProbeMessage is the last probe's failure.
	ProbeMessage string
	// WritableBytes is the size of the writable layer; -1 when not measured.
	WritableBytes int64
	// FilesCopied says that Spec.Files were written since create.
	FilesCopied bool
	// HooksPending says that post_start hooks did not finish for the present start.
	HooksPending bool
	// BindDigests maps a container path to the content digest of the host path bound
	// there; filled for containers that may be adopted.
	BindDigests map[string]string
	// Dead says that the process is known to be gone before the engine said so, and
	// DeadSince since when; zero when Dead is not set.
	Dead      bool
	DeadSince time.Time
	// Interrupted says that the present end of the process came from outside: somebody
	// stopped or killed it, or the engine went away. Such an end completes no job.
	Interrupted bool
	// Unresponsive says that inspecting the container timed out; the other fields are
	// the last known ones.
	Unresponsive bool
	// UnhealthyRestarts counts restarts by the agent because of failing health, and
	// LastUnhealthyRestart tells when the last was.
	UnhealthyRestarts    int
	LastUnhealthyRestart time.Time
	// Starts counts starts of this container by the agent after it had run once.
	Starts int
	// ComparedFor is the spec hash and secret digest for which BindDigests and OpenedDiff
	// were filled in; empty when never.
	ComparedFor string
	// OpenedDiff are the paths of fields that differ from that spec with its secrets
	// opened; never values.
	OpenedDiff []string
	// UpdateTried is what an update in place was last tried for; an engine that reads
	// the value back differently must not be asked for ever.
	UpdateTried string
}

// SpecHash returns the hash that the container was created from or adopted with; empty
// when it is neither ours nor adopted.
func (c *Container) SpecHash() string {
	if c.Facts.SpecHash != "" {
		return c.Facts.SpecHash
	}
	return c.Labels[LabelSpecHash]
}

// Network is one network as inspected.
type Network struct {
	ID, Name, Driver string
	Labels           map[string]string
	Spec             NetworkSpec
}

// Volume is one volume as listed.
type Volume struct {
	Name, Driver string
	Labels       map[string]string
	Options      map[string]string
}

// Image is a local image that a reference resolved to.
type Image struct {
	ID string
	// Digest is the repository digest read back ("sha256:…"); empty for images that
	// never saw a registry.
	Digest string
	// Missing says that the reference is not present locally.
	Missing  bool
	Platform string
	// Config holds the image's defaults in the terms of a ContainerSpec.
	Config ContainerSpec
	// Volumes are the container paths that the image declares as VOLUME.
	Volumes []string
	// Shell runs CMD-SHELL healthchecks; empty means the engine's default.
	Shell []string
	// Stale says that the engine's images changed since: the reference has to be looked
	// up again before anything is decided by it, while the status still tells what was.
	Stale bool
	// PulledAt is when the agent last asked the registry, PulledFor the revision it did so for.
	PulledAt  time.Time
	PulledFor string
	// TaggedAt is when the reference came to mean this image, where the engine tells.
	TaggedAt time.Time
}

// MountState is the result of probing a required mount.
type MountState struct {
	OK        bool
	Reason    Reason
	Message   string
	CheckedAt time.Time
}

// Failure is the memory of an operation that failed.
type Failure struct {
	Count   int
	At      time.Time
	RetryAt time.Time // zero: not before the desired state changes
	Class   ErrorClass
	Reason  Reason
	Message string
	// Revision for which the operation failed.
	Revision string
}

// Hold suspends changes to a stack.
type Hold struct {
	Until time.Time `json:"until,omitzero"` // zero: until resumed
	Why   string    `json:"why,omitzero"`
	Who   string    `json:"who,omitzero"`
	Since time.Time `json:"since,omitzero"`
}

// JobKey names a job's completion in Observed.Jobs; the value is the spec hash.
func JobKey(project, service, name string) string { return project + "/" + service + "/" + name }
