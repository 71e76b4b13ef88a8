package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// resolve looks an image up locally.
func (x *Executor) resolve(ctx context.Context, op plan.Op) error {
	return x.lookUp(ctx, op.Object, op.Replica.Spec.Platform, func(img *api.Image) {
		if old := x.cfg.World.Snapshot().Images[op.Object]; old != nil {
			img.PulledAt, img.PulledFor = old.PulledAt, old.PulledFor
		}
	})
}

func (x *Executor) lookUp(ctx context.Context, ref, platform string, amend func(*api.Image)) error {
	for range lookAgain {
		epoch := x.cfg.World.Snapshot().ImageEpoch
		img, err := x.cfg.Engine.InspectImage(ctx, ref, platform)
		if errors.Is(err, engine.ErrNotFound) {
			img, err = &api.Image{Missing: true}, nil
		}
		if err != nil {
			return err
		}
		amend(img)
		x.cfg.Cache.SetImage(ref, img)
		if x.cfg.World.Snapshot().ImageEpoch == epoch {
			break
		}
	}
	return nil
}

// lookAgain bounds how often an image is looked up while others change images.
const lookAgain = 5

// pull fetches an image with the credentials of its registry, used for this request only.
func (x *Executor) pull(ctx context.Context, op plan.Op, t plan.Target) error {
	req := engine.PullRequest{Ref: op.Object, Platform: op.Replica.Spec.Platform}
	var err error
	if req.Username, req.Password, err = x.login(op.Object, t.Desired.Registries); err != nil {
		return err
	}
	if err := x.cfg.Engine.Pull(ctx, req); err != nil {
		return err
	}
	now := time.Now()
	if err := x.lookUp(ctx, op.Object, req.Platform, func(img *api.Image) {
		img.PulledAt, img.PulledFor = now, t.Desired.Revision
	}); err != nil {
		return err
	}
	if err := x.cfg.Memory.SetPulled(op.Object, now); err != nil {
		return fmt.Errorf("remember the pull of %s: %w", op.Object, err)
	}
	return nil
}

// AskRegistry returns the digest that an image's registry has under the reference, asked
// with the login among registries that a pull would use. Nothing is pulled.
func (x *Executor) AskRegistry(ctx context.Context, registries []api.Registry, image, platform string) (string, error) {
	req := engine.PullRequest{Ref: image, Platform: platform}
	var err error
	if req.Username, req.Password, err = x.login(image, registries); err != nil {
		return "", err
	}
	found, err := x.cfg.Registries.AskRegistry(ctx, req)
	return found.Digest, err
}

// registryHost is the registry that a reference names, "docker.io" when it names none.
// Source: distribution/reference splitDockerDomain.
func registryHost(ref string) string {
	host, _, found := strings.Cut(ref, "/")
	if !found || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return "docker.io"
	}
	return host
}
