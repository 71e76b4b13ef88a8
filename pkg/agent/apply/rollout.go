package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// Bounds of what is kept of a failed container's log. It is read further back than it is
// kept: a secret of many lines can only be recognised as a whole.
const (
	logRead  = 1000
	logCut   = 1 << 20 // what the engine client keeps of it, in bytes
	logLines = 12
	logWidth = 300 // bytes of a line
)

// rollout remembers where the rollout of a stack stands. What can't be written to disk is
// remembered all the same, until the agent ends.
func (x *Executor) rollout(ctx context.Context, op plan.Op, t plan.Target) error {
	memory := *op.Memory
	// Apply hands over only these.
	//exhaustive:ignore
	switch op.Kind {
	case plan.RecordGood:
		if err := x.keepFiles(ctx, t); err != nil {
			return err
		}
		good := *memory.Good
		good.Desired = &api.Desired{
			Revision: t.Desired.Revision, Node: t.Desired.Node, Stacks: []api.Stack{*t.Stack}, Registries: t.Desired.Registries, Root: t.Desired.Root,
		}
		memory.Good = &good
	case plan.QuarantineRevision:
		failed := *memory.Failed
		failed.Log = x.lastLines(ctx, op.LogsOf)
		memory.Failed = &failed
	}
	err := x.cfg.Memory.SetRollout(t.Stack.Name, &memory)
	x.cfg.World.SetRollout(t.Stack.Name, &memory)
	if err != nil {
		return fmt.Errorf("remember the rollout of stack %s: %w", t.Stack.Name, err)
	}
	return nil
}

// keepFiles copies the repository files of a stack: the tree that they come from does not
// outlive its revision.
func (x *Executor) keepFiles(ctx context.Context, t plan.Target) error {
	for _, svc := range t.Stack.Services {
		for _, rep := range svc.Replicas {
			for _, m := range rep.Spec.Mounts {
				if m.Repo == nil {
					continue
				}
				if _, err := x.cfg.Files.Materialise(ctx, t.Desired.Root, *m.Repo); err != nil {
					return fmt.Errorf("keep %s of stack %s for a rollback: %w", m.Repo.Path, t.Stack.Name, err)
				}
			}
		}
	}
	return nil
}

// lastLines are the last ones that a container printed, without secrets. A log that can't
// be read is none: it must not hold up a rollback.
func (x *Executor) lastLines(ctx context.Context, id string) []string {
	if id == "" {
		return nil
	}
	text, err := x.cfg.Engine.Logs(ctx, id, logRead)
	if err != nil {
		if !errors.Is(err, engine.ErrNotFound) {
			x.cfg.Log.WarnContext(ctx, "log of the failed container can't be read", "container_id", id, "err", err)
		}
		return nil
	}
	if len(text) >= logCut { // its first line may begin in the middle of a secret
		_, text, _ = strings.Cut(text, "\n")
	}
	text = strings.TrimRight(x.cfg.Secrets.Redact(text), "\r\n\t ")
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	lines = lines[max(0, len(lines)-logLines):]
	for i, line := range lines {
		line = strings.TrimRight(line, "\r")
		if len(line) > logWidth {
			line = strings.ToValidUTF8(line[:logWidth], "") + "…"
		}
		lines[i] = line
	}
	return lines
}
