package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// now is the time that facts are stamped with.
func (x *Executor) now() time.Time { return time.Now() }

// start writes the secrets of a container, counts repairs of a container that had ended by itself, then starts it. What
// somebody stopped or killed is no crash: it is started at once, however often.
func (x *Executor) start(ctx context.Context, op plan.Op) error {
	if err := x.ensureFolder(op); err != nil {
		return err
	}
	c := x.cfg.World.Snapshot().Containers[op.ID]
	if op.Wanted != nil && len(op.Wanted.PostStart) > 0 {
		if err := x.cfg.Memory.MarkHooksPending(op.ID); err != nil {
			return fmt.Errorf("remember post_start hooks of %s: %w", op.Object, err)
		}
		x.cfg.Cache.SetFacts(op.ID, func(f *api.ContainerFacts) { f.HooksPending = true })
	}
	if c != nil && !c.StartedAt.IsZero() && !c.Facts.Interrupted {
		x.cfg.Cache.SetFacts(op.ID, func(f *api.ContainerFacts) {
			if c.FinishedAt.Sub(c.StartedAt) >= 10*time.Minute {
				f.Starts = 0
			}
			f.Starts++
		})
	}
	return x.explainPort(c, x.cfg.Engine.Start(ctx, op.ID))
}

// explainPort says so when an engine calls a port allocated that no container has: one that
// was killed while it started a container keeps the port for nobody, until its next start.
// Nothing that can be asked of it frees the port, and it is no fault of what is to be started.
func (x *Executor) explainPort(c *api.Container, err error) error {
	known, ok := errors.AsType[*engine.Error](err)
	if c == nil || !ok || known.Reason != api.ReasonPortConflict || !strings.Contains(err.Error(), "port is already allocated") {
		return err
	}
	for _, other := range x.cfg.World.Snapshot().Containers {
		up := other.State == api.StateRunning || other.State == api.StatePaused || other.State == api.StateRestarting
		if up && slices.ContainsFunc(other.Spec.Ports, func(p api.Port) bool {
			return slices.ContainsFunc(c.Spec.Ports, func(q api.Port) bool { return p.Published == q.Published && p.Protocol == q.Protocol })
		}) {
			return err
		}
	}
	return &opError{class: known.Class, reason: api.ReasonPortLost, err: fmt.Errorf(
		"%w; no container has it: the engine lost count of the port when it was killed, and has to be restarted", err)}
}

// stop runs the pre_stop hooks of a running container, then stops it. A hook that fails
// is logged and does not keep the container alive, as in Compose.
func (x *Executor) stop(ctx context.Context, op plan.Op) error {
	c := x.cfg.World.Snapshot().Containers[op.ID]
	if op.Wanted != nil && c != nil && c.State == api.StateRunning {
		for _, h := range op.Wanted.PreStop {
			if err := x.runHook(ctx, op, h); err != nil {
				x.cfg.Log.WarnContext(ctx, "pre_stop hook failed", "container_id", op.ID, "service", op.Service, "err", err)
			}
		}
	}
	return x.cfg.Engine.Stop(ctx, engine.StopRequest{ID: op.ID, Grace: op.Grace, Signal: stopSignal(c)})
}

func stopSignal(c *api.Container) string {
	if c == nil {
		return ""
	}
	return c.Spec.StopSignal
}

// hookTimeout bounds one lifecycle hook.
const hookTimeout = 5 * time.Minute

func (x *Executor) runHook(ctx context.Context, op plan.Op, h api.Hook) error {
	ctx, cancel := context.WithTimeout(ctx, hookTimeout)
	defer cancel()
	env := h.Env
	command, through := inside(x.cfg.World.Snapshot().Containers[op.ID], h.Command)
	if !through {
		var err error
		if env, err = x.opened(op).expandAll(h.Env); err != nil {
			return err
		}
		if command, err = x.opened(op).expandAll(h.Command); err != nil {
			return err
		}
	}
	res, err := x.cfg.Engine.Exec(ctx, engine.ExecRequest{
		ID: op.ID, Command: command, User: h.User, WorkingDir: h.WorkingDir, Env: env, Privileged: h.Privileged,
	})
	if err != nil {
		return err
	}
	if res.ExitCode != 0 {
		return &opError{
			class: api.Transient, reason: api.ReasonHookFailed,
			err: fmt.Errorf("hook ended with exit code %d", res.ExitCode),
		}
	}
	return nil
}

// hooks runs post_start hooks in order; the first failure is tried again from the start.
func (x *Executor) hooks(ctx context.Context, op plan.Op) error {
	if err := x.ensureFolder(op); err != nil {
		return err
	}
	for i, h := range op.Wanted.PostStart {
		if err := x.runHook(ctx, op, h); err != nil {
			return fmt.Errorf("run post_start[%d] of %s: %w", i, op.Object, err)
		}
	}
	if err := x.cfg.Memory.ClearHooksPending(op.ID); err != nil {
		return fmt.Errorf("remember post_start hooks of %s: %w", op.Object, err)
	}
	x.cfg.Cache.SetFacts(op.ID, func(f *api.ContainerFacts) { f.HooksPending = false })
	return nil
}

// opError is a failure of apply's own making with its class and reason.
type opError struct {
	class  api.ErrorClass
	reason api.Reason
	err    error
}

func (e *opError) Error() string                         { return e.err.Error() }
func (e *opError) Unwrap() error                         { return e.err }
func (e *opError) Failure() (api.ErrorClass, api.Reason) { return e.class, e.reason }
