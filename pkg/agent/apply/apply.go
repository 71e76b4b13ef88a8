package apply

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/deliver"
	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// Containers are the engine's calls that change the life of a container.
type Containers interface {
	Start(ctx context.Context, id string) error
	Stop(ctx context.Context, req engine.StopRequest) error
	Restart(ctx context.Context, req engine.StopRequest) error
	Remove(ctx context.Context, id string) error
	Unpause(ctx context.Context, id string) error
}

// Changes are the engine's calls that make or change a container.
type Changes interface {
	Create(ctx context.Context, req engine.CreateRequest) (string, error)
	CopyFiles(ctx context.Context, id string, files []api.File) error
	Rename(ctx context.Context, id, name string) error
	Update(ctx context.Context, req engine.UpdateRequest) error
	Exec(ctx context.Context, req engine.ExecRequest) (engine.ExecResult, error)
}

// Networks are the engine's calls about networks and volumes.
type Networks interface {
	CreateNetwork(ctx context.Context, spec api.NetworkSpec, labels map[string]string) (string, error)
	RemoveNetwork(ctx context.Context, id string) error
	Connect(ctx context.Context, req engine.ConnectRequest) error
	Disconnect(ctx context.Context, networkID, containerID string) error
	CreateVolume(ctx context.Context, spec api.VolumeSpec, labels map[string]string) error
}

// Images are the engine's calls about images, and the measure of a container.
type Images interface {
	InspectImage(ctx context.Context, ref, platform string) (*api.Image, error)
	Pull(ctx context.Context, req engine.PullRequest) error
	MeasureContainer(ctx context.Context, id string) (int64, error)
	Logs(ctx context.Context, id string, tail int) (string, error)
}

// Engine is all that apply asks of an engine.
type Engine interface {
	Containers
	Changes
	Networks
	Images
}

// Cache is where apply looks at objects after a call, so that the next plan sees it.
type Cache interface {
	// Change runs a call that changes or makes a container, named by id or by the name that
	// it gets, and publishes what became of it. It returns the call's own error first.
	Change(ctx context.Context, object string, call func() (id string, err error)) error
	RefreshNetwork(ctx context.Context, id string) error
	RefreshVolume(ctx context.Context, name string) error
	SetFacts(id string, change func(*api.ContainerFacts))
	SetImage(ref string, img *api.Image)
}

// World is the rest of what apply reads and remembers.
type World interface {
	Snapshot() *api.Observed
	SetJob(key, hash string)
	SetRollout(stack string, r *api.Rollout)
	// SetFolder tells what a secret folder holds; an empty digest says that it is gone.
	SetFolder(folder, digest string)
}

// Memory keeps across restarts what can't be read back from the engine.
type Memory interface {
	SetAdoption(id, specHash, secretDigest string) error
	SetJob(key, hash string) error
	MarkHooksPending(id string) error
	ClearHooksPending(id string) error
	StackMemory
}

// StackMemory is what is kept of stacks and of images.
type StackMemory interface {
	SetRollout(stack string, r *api.Rollout) error
	SetPulled(ref string, at time.Time) error
}

// Keeper remembers which values containers keep, for the next plan and the next agent. What
// can't be written to disk is an error, and is remembered all the same until the agent ends.
type Keeper interface {
	SetKept(key string, kept api.Kept) error
}

// Secrets opens values by reference.
type Secrets interface {
	// Open returns the newest value, OpenAs the one of a digest, where it is at hand.
	Open(ref string) (secrets.Value, bool)
	OpenAs(ref, digest string) (secrets.Value, bool)
	// Redact takes every value out of a text.
	Redact(text string) string
	// DigestOf is the digest that a text has as the value of ref; Restore takes one back that
	// was found where it had been delivered.
	DigestOf(ref, text string) string
	Restore(ref, text string)
}

// Delivery keeps the folders that containers read their secrets from.
type Delivery interface {
	New(container string) (folder string, done func())
	Paths(folder string, files int) (deliver.Paths, error)
	Write(folder string, content deliver.Content) error
	Held(folder string) string
	Remove(folder string) error
}

// Rotations shows a container the values of a rotation, and what its folder holds.
type Rotations interface {
	Offer(folder, old, fresh string) error
	Withdraw(folder string) error
	Texts(folder string) []string
}

// Files turns a file or folder of the repository into a host path that can be bound.
type Files interface {
	Materialise(ctx context.Context, root string, src api.RepoSource) (string, error)
}

// Checker runs the stack's own HTTP and TCP probes.
type Checker interface {
	Check(ctx context.Context, addr string, p api.Probe) error
}

// Policy is what the node accepts of the desired state, asked as late as possible.
type Policy interface {
	// Admit refuses a container whose host paths lead, by now, to where the node does not
	// allow it.
	Admit(ctx context.Context, service string, spec *api.ContainerSpec, volumes []api.VolumeSpec) error
	// AllowsRegistry tells whether a registry may be sent a login.
	AllowsRegistry(host string) bool
}

// Registries tells what registries have, without pulling.
type Registries interface {
	AskRegistry(ctx context.Context, req engine.PullRequest) (engine.Manifest, error)
}

// Config of an Executor. All fields but Policy and Registries are required.
type Config struct {
	Engine   Engine
	Cache    Cache
	World    World
	Memory   Memory
	Secrets  Secrets
	Kept     Keeper
	Delivery Delivery
	Rotation Rotations
	Files    Files
	Checker  Checker
	// Policy may be nil: everything is accepted.
	Policy Policy
	// Registries may be nil: AskRegistry is not to be called then.
	Registries Registries
	Log        *slog.Logger
}

// Executor runs operations. It is safe for concurrent use.
type Executor struct{ cfg Config }

// New returns an Executor.
func New(cfg Config) *Executor { return &Executor{cfg: cfg} }

// Apply runs one operation and publishes what changed. Doing what is done already is
// success.
func (x *Executor) Apply(ctx context.Context, op plan.Op, t plan.Target) error {
	if err := x.admit(ctx, op, t); err != nil {
		return err
	}
	switch op.Kind {
	case plan.Resolve:
		return x.resolve(ctx, op)
	case plan.Pull:
		return x.pull(ctx, op, t)
	case plan.CreateNetwork, plan.RemoveNetwork, plan.Connect, plan.Disconnect, plan.CreateVolume:
		return x.network(ctx, op, t)
	case plan.Create:
		return x.create(ctx, op, t)
	case plan.CopyFiles:
		return x.copyFiles(ctx, op)
	case plan.Start, plan.Stop, plan.Restart, plan.Remove, plan.Unpause, plan.Rename, plan.Update:
		return x.change(ctx, op)
	case plan.Probe:
		return x.probe(ctx, op)
	case plan.Hook:
		return x.hooks(ctx, op)
	case plan.Measure, plan.Compare, plan.Adopt, plan.RecordJob, plan.LearnKept:
		return x.learn(ctx, op, t)
	case plan.Rotate:
		return x.rotate(ctx, op, t)
	case plan.FillFolder:
		return x.ensureFolder(op)
	case plan.RecordGood, plan.QuarantineRevision, plan.LiftQuarantine:
		return x.rollout(ctx, op, t)
	case plan.AwaitExit, plan.AwaitDelay:
		return nil // passive: never handed out
	}
	return fmt.Errorf("operation %q is unknown to this agent", op.Kind)
}

// change runs an operation on one existing container and reads it back.
func (x *Executor) change(ctx context.Context, op plan.Op) error {
	return x.cfg.Cache.Change(ctx, op.ID, func() (string, error) {
		err := x.changeContainer(ctx, op)
		if op.Kind == plan.Update && err == nil {
			x.cfg.Cache.SetFacts(op.ID, func(f *api.ContainerFacts) { f.UpdateTried = op.SpecHash })
		}
		return op.ID, err
	})
}

func (x *Executor) changeContainer(ctx context.Context, op plan.Op) error {
	e := x.cfg.Engine
	// Apply hands over only these.
	//exhaustive:ignore
	switch op.Kind {
	case plan.Start:
		return x.start(ctx, op)
	case plan.Stop:
		return x.stop(ctx, op)
	case plan.Restart:
		if err := x.ensureFolder(op); err != nil {
			return err
		}
		if op.ForHealth {
			x.countUnhealthy(op.ID)
		}
		return e.Restart(ctx, engine.StopRequest{ID: op.ID, Grace: op.Grace})
	case plan.Remove:
		return x.remove(ctx, op)
	case plan.Unpause:
		return e.Unpause(ctx, op.ID)
	case plan.Rename:
		return e.Rename(ctx, op.ID, op.NewName)
	case plan.Update:
		return e.Update(ctx, engine.UpdateRequest{ID: op.ID, Resources: op.Replica.Spec.Resources, Restart: op.Replica.Spec.Restart})
	default:
		return fmt.Errorf("operation %q does not change a container", op.Kind)
	}
}

// countUnhealthy remembers that a container is restarted for its health, which spaces such
// restarts.
func (x *Executor) countUnhealthy(id string) {
	x.cfg.Cache.SetFacts(id, func(f *api.ContainerFacts) {
		f.UnhealthyRestarts++
		f.LastUnhealthyRestart = x.now()
	})
}
