package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// Bounds of what a rotation command may say: it is read further than it is shown, so that
// a value can be recognised as a whole.
const (
	rotationRead  = 4096
	rotationShown = 400
	// shortest value that can be told from ordinary text in all its encodings.
	shortestShown = 6
)

// keepFirst remembers what a container is about to keep, before it exists: its first start
// applies it. What is known of its data already stays.
func (x *Executor) keepFirst(op plan.Op, t plan.Target) error {
	if op.Wanted == nil {
		return nil
	}
	known := x.cfg.World.Snapshot().Kept
	for _, k := range op.Wanted.Keeps {
		key := api.KeptKey(t.Stack.Project, op.Replica.Name, k.Ref)
		if _, ok := known[key]; ok || op.Secrets[k.Ref] == "" {
			continue
		}
		if err := x.cfg.Kept.SetKept(key, api.Kept{Accepted: op.Secrets[k.Ref]}); err != nil {
			return fmt.Errorf("remember what %s keeps: %w", op.Object, err)
		}
	}
	return nil
}

// rotate makes a running container accept the newest value of a secret that it keeps. That
// it was tried is on disk before the command runs, that it worked after it: an agent that
// dies in between runs it again.
func (x *Executor) rotate(ctx context.Context, op plan.Op, t plan.Target) error {
	key := api.KeptKey(t.Stack.Project, op.Replica.Name, op.Kept.Ref)
	record := x.cfg.World.Snapshot().Kept[key]
	fresh, found := x.cfg.Secrets.OpenAs(op.Kept.Ref, op.Digest)
	if !found {
		return rotationFailed("the new value of %s is not at hand", op.Kept.Ref)
	}
	old, _ := x.cfg.Secrets.OpenAs(op.Kept.Ref, record.Accepted)
	if err := x.cfg.Kept.SetKept(key, api.Kept{Accepted: record.Accepted, Tried: op.Digest}); err != nil {
		return fmt.Errorf("remember the rotation of %s: %w", op.Object, err)
	}
	if err := x.runRotation(ctx, op, old, fresh); err != nil {
		return err
	}
	if err := x.adoptKept(op, record); err != nil {
		return err
	}
	if err := x.cfg.Kept.SetKept(key, api.Kept{Accepted: op.Digest, Since: time.Now().UTC().Round(0)}); err != nil {
		// The next agent runs the command once more.
		x.cfg.Log.WarnContext(ctx, "the rotation is not on disk", "container_id", op.ID, "service", op.Service, "err", err)
	}
	return nil
}

// runRotation runs the command with both values at hand. Values that can't be taken away
// again are a failure: another run does.
func (x *Executor) runRotation(ctx context.Context, op plan.Op, old, fresh secrets.Value) error {
	folder := plan.Folder(x.cfg.World.Snapshot().Containers[op.ID])
	if folder == "" {
		return x.execRotation(ctx, op, old, fresh)
	}
	if err := x.cfg.Rotation.Offer(folder, old.Open(), fresh.Open()); err != nil {
		return errors.Join(writeFailed(err), x.cfg.Rotation.Withdraw(folder))
	}
	err := x.execRotation(ctx, op, old, fresh)
	return errors.Join(err, x.cfg.Rotation.Withdraw(folder))
}

func (x *Executor) execRotation(ctx context.Context, op plan.Op, old, fresh secrets.Value) error {
	command, _ := inside(x.cfg.World.Snapshot().Containers[op.ID], op.Kept.Exec)
	limited, cancel := context.WithTimeout(ctx, op.Kept.Timeout)
	defer cancel()
	result, err := x.cfg.Engine.Exec(limited, engine.ExecRequest{
		ID: op.ID, Command: command, User: op.Kept.User, Stdin: fresh.Open(), MaxOutput: rotationRead,
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded) && limited.Err() != nil:
		return rotationFailed("rotate %s in %s: the command did not end within %s", op.Kept.Variable, op.Object, op.Kept.Timeout)
	case err != nil:
		return fmt.Errorf("rotate %s in %s: %w", op.Kept.Variable, op.Object, err)
	case result.ExitCode != 0:
		return rotationFailed("rotate %s in %s: the command ended with exit code %d: %s; the old value stays in use",
			op.Kept.Variable, op.Object, result.ExitCode, x.shown(result.Output, old, fresh))
	}
	return nil
}

// shown is the end of a command's output without the values, however short they are.
func (x *Executor) shown(output string, values ...secrets.Value) string {
	cut := len(output) >= rotationRead
	for _, value := range values {
		text := value.Open()
		if text == "" {
			continue
		}
		if len(text) < shortestShown {
			return "its output is not shown, because the value is too short to be found in it"
		}
		if cut { // its end may be the beginning of a value
			output = output[:max(0, len(output)-3*len(text))]
		}
	}
	output = strings.Join(strings.Fields(x.cfg.Secrets.Redact(output)), " ")
	if len(output) > rotationShown {
		output = "…" + strings.ToValidUTF8(output[len(output)-rotationShown:], "")
	}
	if output == "" {
		return "no output"
	}
	return output
}

// adoptKept lets a container that carries a digest over all of its secrets count as one
// that keeps some, so that the new value does not replace it.
func (x *Executor) adoptKept(op plan.Op, record api.Kept) error {
	c := x.cfg.World.Snapshot().Containers[op.ID]
	digest := plan.SecretDigest(op.Wanted, op.Replica, op.Secrets)
	if c == nil || plan.Carried(c) == digest || !plan.CarriesAll(c, op.Replica, withDigest(op, record.Accepted)) {
		return nil
	}
	return x.adopt(op, c.SpecHash(), digest)
}

func (x *Executor) adopt(op plan.Op, specHash, digest string) error {
	if err := x.cfg.Memory.SetAdoption(op.ID, specHash, digest); err != nil {
		return fmt.Errorf("remember adoption of %s: %w", op.Object, err)
	}
	x.cfg.Cache.SetFacts(op.ID, func(f *api.ContainerFacts) { f.SpecHash, f.SecretDigest = specHash, digest })
	return nil
}

// learnKept finds out which value a container got that was there before anybody
// remembered: from its folder, its environment, or the digest that it carries. What can't
// be found out is remembered as such.
func (x *Executor) learnKept(op plan.Op, t plan.Target) error {
	ref := op.Kept.Ref
	accepted := ""
	c := x.cfg.World.Snapshot().Containers[op.ID]
	if c == nil {
		return nil
	}
	for _, text := range append(x.cfg.Rotation.Texts(plan.Folder(c)), inEnvironment(op, c)...) {
		if digest := x.cfg.Secrets.DigestOf(ref, text); digest == op.Digest {
			accepted = digest
		}
	}
	if accepted == "" && op.Digest != "" && plan.CarriesAll(c, op.Replica, withDigest(op, op.Digest)) {
		accepted = op.Digest
	}
	if texts := inEnvironment(op, c); accepted == "" && len(texts) > 0 {
		x.cfg.Secrets.Restore(ref, texts[0])
		accepted = x.cfg.Secrets.DigestOf(ref, texts[0])
	}
	if err := x.cfg.Kept.SetKept(api.KeptKey(t.Stack.Project, op.Replica.Name, ref), api.Kept{Accepted: accepted}); err != nil {
		return fmt.Errorf("remember what %s keeps: %w", op.Object, err)
	}
	return nil
}

// withDigest are the digests of an operation with another one for its kept secret.
func withDigest(op plan.Op, digest string) map[string]string {
	digests := maps.Clone(op.Secrets)
	if digests == nil {
		digests = map[string]string{}
	}
	digests[op.Kept.Ref] = digest
	return digests
}

// inEnvironment are the values of variables that hold nothing but the secret, in a
// container that has them in its environment.
func inEnvironment(op plan.Op, c *api.Container) []string {
	var texts []string
	for _, kv := range op.Replica.Spec.Env {
		name, value, _ := strings.Cut(kv, "=")
		if value != api.Placeholder(op.Kept.Ref) {
			continue
		}
		for _, have := range c.Spec.Env {
			if text, ok := strings.CutPrefix(have, name+"="); ok && text != "" && len(api.References(text)) == 0 {
				texts = append(texts, text)
			}
		}
	}
	return texts
}

func rotationFailed(format string, args ...any) error {
	return &opError{class: api.Transient, reason: api.ReasonRotationFailed, err: fmt.Errorf(format, args...)}
}
