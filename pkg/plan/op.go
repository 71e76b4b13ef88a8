package plan

import (
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Kind is the verb of an operation.
type Kind string

// Kinds of operations. Each is one idempotent call of the engine, or one thing that
// the agent has to learn (resolve, measure, probe) or remember (adopt, record-job).
const (
	Resolve       Kind = "resolve-image" // look the reference up locally
	Pull          Kind = "pull-image"
	CreateNetwork Kind = "create-network"
	RemoveNetwork Kind = "remove-network"
	Connect       Kind = "connect-network"
	Disconnect    Kind = "disconnect-network"
	CreateVolume  Kind = "create-volume"
	Create        Kind = "create-container"
	CopyFiles     Kind = "copy-files"
	Start         Kind = "start-container"
	Stop          Kind = "stop-container"
	Restart       Kind = "restart-container" // unhealthy for too long
	Remove        Kind = "remove-container"
	Rename        Kind = "rename-container"
	Update        Kind = "update-container"
	Unpause       Kind = "unpause-container"
	Measure       Kind = "measure-container" // size of the writable layer, before a recreate
	Compare       Kind = "compare-files"     // content of host files bound into an adopted container
	Probe         Kind = "await-healthy"     // run the healthcheck until it succeeds
	AwaitExit     Kind = "await-completion"  // a job that others wait for
	AwaitDelay    Kind = "await-delay"       // between two replicas of an update
	Hook          Kind = "run-post-start"
	Adopt         Kind = "adopt-container"
	RecordJob     Kind = "record-job"

	RecordGood         Kind = "record-good"         // what a failed update returns to
	QuarantineRevision Kind = "quarantine-revision" // an update that failed
	LiftQuarantine     Kind = "lift-quarantine"

	LearnKept  Kind = "learn-kept-secret" // which value a container got at its first start
	Rotate     Kind = "rotate-secret"     // make a running container accept a new value
	FillFolder Kind = "fill-secret-folder"
)

// Op is one step. Key identifies it across plans: the same step of a later plan has the
// same key, so that work under way is joined and failures are remembered.
type Op struct {
	Key  string `json:"key"`
	Kind Kind   `json:"kind"`
	// Object is what it acts on, by the name a person knows: container, network, volume, image.
	Object  string `json:"object"`
	Service string `json:"service,omitzero"`
	// ID is the engine's id of the object, where it exists.
	ID string `json:"id,omitzero"`
	// Cause says why, in words.
	Cause string `json:"cause"`
	// Diff names the fields that differ; secret values are never in it.
	Diff []FieldDiff `json:"diff,omitzero"`
	// Needs are keys of operations of this plan that have to succeed first. An op
	// without needs is ready.
	Needs []string `json:"needs,omitzero"`
	// NotBefore delays the op (back-off); zero means now.
	NotBefore time.Time `json:"notBefore,omitzero"`
	// Passive ops are waited for, not run: something else makes them happen.
	Passive bool `json:"passive,omitzero"`
	// Background ops keep no stack from being converged, and nothing waits for them.
	Background bool `json:"background,omitzero"`
	// Stalled ops failed for good; they are tried again when the desired state changes.
	Stalled bool `json:"stalled,omitzero"`

	// What apply needs beyond the above; which are set depends on Kind.
	Replica *api.Replica     `json:"-"`
	Wanted  *api.Service     `json:"-"`
	Network *api.NetworkSpec `json:"-"`
	Volume  *api.VolumeSpec  `json:"-"`
	// Endpoint is set for Connect.
	Endpoint *api.Endpoint `json:"-"`
	// NetworkID is set for Connect and Disconnect.
	NetworkID string `json:"-"`
	// NewName is set for Create (the name to create under) and Rename.
	NewName string `json:"-"`
	// Replaces is the id of the container that a Create supersedes: anonymous volumes
	// are taken over from it.
	Replaces string `json:"-"`
	// Parents maps "service:X" references of the spec to container ids (or names for links).
	Parents map[string]string `json:"-"`
	// SpecHash is set for Adopt, RecordJob and Compare.
	SpecHash string `json:"-"`
	// Image is the id to create from, or to compare with, where the reference of the spec means another image.
	Image string `json:"-"`
	// Memory is set for what is remembered of a rollout; apply fills in the desired state
	// of a RecordGood, and for a QuarantineRevision the last lines of the container LogsOf.
	Memory *api.Rollout `json:"-"`
	LogsOf string       `json:"-"`
	// Secrets are the digests of the values that Replica gets, by reference.
	Secrets map[string]string `json:"-"`
	// Kept is set for LearnKept and Rotate; Digest is that of its newest value.
	Kept   *api.KeptSecret `json:"-"`
	Digest string          `json:"-"`
	// Grace is set for Stop and Restart.
	Grace *time.Duration `json:"-"`
	// ForHealth is set for a Restart of what is unhealthy, which spaces the next one.
	ForHealth bool `json:"-"`
}

// FieldDiff is one difference between desired and observed.
type FieldDiff struct {
	Path string `json:"path"`
	Have string `json:"have"`
	Want string `json:"want"`
}

// Plan is what is left to do for one stack, in a deterministic order in which every op
// comes after its needs.
type Plan struct {
	Stack    string `json:"stack"`
	Revision string `json:"revision"`
	Ops      []Op   `json:"ops"`
	// Status is the stack's state as the planner sees it now.
	Status api.StackStatus `json:"status"`
	// Back is the desired state of the last known good when the operations go back to it;
	// nil when they belong to the wanted one.
	Back *api.Desired `json:"-"`
	// Follows are the stacks that it waits for: it changes when they do.
	Follows []string `json:"-"`
	// InForce are the digests of the secret values that containers get now, by reference.
	InForce map[string]string `json:"-"`
	// Held says that a hold suspends every operation.
	Held bool `json:"held,omitzero"`
	// WakeAt is when something changes by the passing of time alone; zero means never.
	WakeAt time.Time `json:"wakeAt,omitzero"`
}

// Ready returns the operations that can run now: no needs, not delayed, not stalled.
func (p *Plan) Ready(now time.Time) []Op {
	if p.Held {
		return nil
	}
	var ready []Op
	for _, op := range p.Ops {
		if len(op.Needs) == 0 && !op.Passive && !op.Stalled && !op.NotBefore.After(now) {
			ready = append(ready, op)
		}
	}
	return ready
}

// Target is the stack that operations belong to, with the state it comes from.
type Target struct {
	Desired *api.Desired
	Stack   *api.Stack
}
