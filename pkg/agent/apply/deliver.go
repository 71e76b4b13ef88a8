package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"ktrdr.io/fleet/pkg/agent/internal/deliver"
	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// createDelivered makes a container that reads its secrets from a folder, which is there
// before the engine hears of it. req has all but the spec, whose files and parents are
// resolved.
func (x *Executor) createDelivered(ctx context.Context, op plan.Op, req engine.CreateRequest) error {
	folder, done := x.cfg.Delivery.New(op.Object)
	defer done()
	bound, _ := plan.SplitFiles(req.Spec.Files)
	paths, err := x.cfg.Delivery.Paths(folder, len(bound))
	if err != nil {
		return undeliverable(err)
	}
	image, err := x.imageOf(ctx, req.Spec)
	if err != nil {
		return err
	}
	if err := x.writeFolder(folder, op); err != nil {
		return errors.Join(err, x.dropFolder(folder))
	}
	binds := plan.Binds{Exec: paths.Exec, Values: paths.Values, Files: paths.Files}
	if len(plan.ValueRefs(op.Wanted, op.Replica)) == 0 {
		binds.Exec, binds.Values = "", ""
	}
	req.Spec = plan.Delivered(req.Spec, image, binds)
	req.Labels[api.LabelSecretFolder] = folder
	req.References = true
	if len(req.Spec.Entrypoint)+len(req.Spec.Command) == len(plan.ThroughExec(nil)) && binds.Exec != "" {
		err = &opError{class: api.Terminal, reason: api.ReasonInvalid, err: fmt.Errorf(
			"create %s: neither image %s nor the Compose file has a command", op.Object, req.Spec.Image)}
		return errors.Join(err, x.dropFolder(folder))
	}
	made := false
	err = x.cfg.Cache.Change(ctx, req.Name, func() (string, error) {
		id, err := x.cfg.Engine.Create(ctx, req)
		made = err == nil
		return id, err
	})
	if err != nil && !made {
		// Should the engine have made it all the same, its start writes the folder again.
		return errors.Join(unseen(err, folder), x.dropFolder(folder))
	}
	return err
}

// imageOf is the image whose program the container runs; a rollback names one by its id.
func (x *Executor) imageOf(ctx context.Context, spec api.ContainerSpec) (*api.Image, error) {
	if image := x.cfg.World.Snapshot().Images[spec.Image]; image != nil && !image.Missing {
		return image, nil
	}
	return x.cfg.Engine.InspectImage(ctx, spec.Image, spec.Platform)
}

// unseen explains the refusal of an engine that looks at another file system.
func unseen(err error, folder string) error {
	if text := err.Error(); !strings.Contains(text, folder) || !strings.Contains(text, "does not exist") {
		return err
	}
	return undeliverable(fmt.Errorf("the engine does not see the secrets folder that this agent writes: "+
		"mount it on the host by `ktrdr-agent prepare`, and give an agent in a container the folder by a bind with rslave: %w", err))
}

func undeliverable(err error) error {
	return &opError{class: api.Waiting, reason: api.ReasonUndeliverable, err: err}
}

// ensureFolder writes the folder of a container before a start by the agent: memory is
// empty after a reboot. Without values at hand a folder that is complete will do.
func (x *Executor) ensureFolder(op plan.Op) error {
	folder := plan.Folder(x.cfg.World.Snapshot().Containers[op.ID])
	if folder == "" || op.Replica == nil {
		return nil
	}
	err := x.writeFolder(folder, op)
	if held := x.cfg.Delivery.Held(folder); err != nil && held != "" && isMissing(err) {
		x.cfg.World.SetFolder(folder, held)
		return nil
	}
	return err
}

func isMissing(err error) bool {
	e, ok := errors.AsType[*opError](err)
	return ok && e.reason == api.ReasonSecretMissing
}

// writeFolder makes a folder hold what the replica of op needs.
func (x *Executor) writeFolder(folder string, op plan.Op) error {
	content := deliver.Content{
		Digest: plan.FolderDigest(op.Wanted, op.Replica, op.Secrets),
		Values: map[string]string{},
	}
	for _, ref := range plan.ValueRefs(op.Wanted, op.Replica) {
		value, err := x.opened(op).expand(api.Placeholder(ref))
		if err != nil {
			return err
		}
		if err := checkValue(ref, value); err != nil {
			return err
		}
		content.Values[ref] = value
	}
	if err := checkEnv(op.Replica.Spec.Env, content.Values); err != nil {
		return err
	}
	bound, _ := plan.SplitFiles(op.Replica.Spec.Files)
	for _, f := range bound {
		refs := strings.Join(api.References(f.Content), " and ")
		text, err := x.opened(op).expand(f.Content)
		if err != nil {
			return err
		}
		if len(text) > api.MaxSecret {
			return invalidSecret("file %s is larger than %d bytes with the value of %s", f.Target, api.MaxSecret, refs)
		}
		f.Content = text
		content.Files = append(content.Files, f)
	}
	if err := x.cfg.Delivery.Write(folder, content); err != nil {
		return writeFailed(err)
	}
	x.cfg.World.SetFolder(folder, content.Digest)
	return nil
}

func writeFailed(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return &opError{class: api.Transient, reason: api.ReasonDiskFull, err: fmt.Errorf(
			"%w: the tmpfs of the secrets folder is full", err)}
	}
	return undeliverable(err)
}

// checkValue refuses what no process can get.
func checkValue(ref, value string) error {
	switch {
	case len(value) > api.MaxSecret:
		return invalidSecret("the value of %s is larger than %d bytes", ref, api.MaxSecret)
	case strings.IndexByte(value, 0) >= 0:
		return invalidSecret("the value of %s holds a zero byte, which no variable can: use a file of `secrets:`", ref)
	}
	return nil
}

// checkEnv refuses variables that are too long for the kernel.
func checkEnv(env []string, values map[string]string) error {
	for _, kv := range env {
		refs := api.References(kv)
		if len(refs) == 0 {
			continue
		}
		full, _ := api.Expand(kv, func(ref string) (string, error) { return values[ref], nil })
		if len(full) > api.MaxVariable {
			name, _, _ := strings.Cut(kv, "=")
			return invalidSecret("variable %s is longer than %d bytes with the value of %s: use a file of `secrets:`",
				name, api.MaxVariable, strings.Join(refs, " and "))
		}
	}
	return nil
}

func invalidSecret(format string, args ...any) error {
	return &opError{class: api.Waiting, reason: api.ReasonSecretInvalid, err: fmt.Errorf(format, args...)}
}

// dropFolder removes a folder that no container binds any more.
func (x *Executor) dropFolder(folder string) error {
	if folder == "" {
		return nil
	}
	x.cfg.World.SetFolder(folder, "")
	return x.cfg.Delivery.Remove(folder)
}

// remove removes a container, and then what only it has read.
func (x *Executor) remove(ctx context.Context, op plan.Op) error {
	folder := plan.Folder(x.cfg.World.Snapshot().Containers[op.ID])
	if err := x.cfg.Engine.Remove(ctx, op.ID); err != nil {
		return err
	}
	if err := x.dropFolder(folder); err != nil {
		// House-keeping comes back to it.
		x.cfg.Log.WarnContext(ctx, "secret folder is not removed", "container_id", op.ID, "service", op.Service, "err", err)
	}
	return nil
}

// inside returns a command as it is run in a container: by ktrdr-exec where that is
// there, which fills references in; the caller opens them for others.
func inside(c *api.Container, command []string) (through []string, ok bool) {
	if c == nil || !plan.HasExec(c) {
		return command, false
	}
	return plan.ThroughExec(command), true
}
