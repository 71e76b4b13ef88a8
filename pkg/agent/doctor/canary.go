package doctor

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// Images makes and removes the canary's image.
type Images interface {
	ImportImage(ctx context.Context, req engine.ImportRequest) error
	RemoveImage(ctx context.Context, ref string) error
}

// Life runs the canary.
type Life interface {
	Create(ctx context.Context, req engine.CreateRequest) (string, error)
	Start(ctx context.Context, id string) error
	InspectContainer(ctx context.Context, id string) (*api.Container, error)
	Remove(ctx context.Context, id string) error
}

// Canary starts a container of an image that holds one static program, and removes both.
type Canary struct {
	Images Images
	Life   Life
	// Program ends with 0 for --version: ktrdr-exec.
	Program string
}

// Names of what the canary makes.
const (
	canaryName  = "ktrdr-doctor-canary"
	canaryImage = "ktrdr-doctor-canary:latest"
	canaryLimit = 20 * time.Second
)

// canary runs a container without and one with limits: what fails in an LXC is most often
// one of them.
func (c *Config) canary(ctx context.Context, req Request, emit func(api.Check)) {
	if c.Canary == nil || !req.Canary {
		emit(row("canary", "", api.CheckSkip, "no container was started; --canary starts one"))
		return
	}
	defer c.Canary.sweep(ctx)
	if err := c.Canary.build(ctx); err != nil {
		emit(fixed(row("canary", "image", api.CheckFail, "%v", err), "the engine can't make an image: look at disk and storage driver"))
		return
	}
	err := c.Canary.run(ctx, api.Resources{})
	if err != nil {
		emit(fixed(row("canary", "container", api.CheckFail, "%v", err),
			"containers don't run here. In an LXC: pct set ID --features nesting=1,keyctl=1; for AppArmor: lxc.apparmor.profile = unconfined; the engine's log says more"))
		return
	}
	emit(row("canary", "container", api.CheckOK, "a container on the bridge network starts, runs and ends"))
	if err := c.Canary.run(ctx, api.Resources{Memory: 64 << 20, NanoCPUs: 1e8}); err != nil {
		emit(fixed(row("canary", "limits", api.CheckFail, "%v", err), "limits of memory or CPU don't work here: delegate the cgroup controllers to the LXC, or remove limits: from the Compose files"))
		return
	}
	emit(row("canary", "limits", api.CheckOK, "memory and CPU limits work"))
}

// build makes the image.
func (c *Canary) build(ctx context.Context) error {
	program, err := os.ReadFile(c.Program)
	if err != nil {
		return fmt.Errorf("read the canary's program: %w", err)
	}
	var archive bytes.Buffer
	out := tar.NewWriter(&archive)
	err = out.WriteHeader(&tar.Header{Name: "canary", Mode: 0o755, Size: int64(len(program)), Typeflag: tar.TypeReg})
	if err == nil {
		_, err = out.Write(program)
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("pack the canary's program: %w", err)
	}
	return c.Images.ImportImage(ctx, engine.ImportRequest{Ref: canaryImage, Archive: &archive})
}

// run starts the program and waits for its end.
func (c *Canary) run(ctx context.Context, resources api.Resources) error {
	ctx, cancel := context.WithTimeout(ctx, canaryLimit)
	defer cancel()
	if err := c.Life.Remove(ctx, canaryName); err != nil {
		return err
	}
	id, err := c.Life.Create(ctx, engine.CreateRequest{
		Name: canaryName, Labels: map[string]string{"io.ktrdr.doctor": "canary"},
		Spec: api.ContainerSpec{Image: canaryImage, Entrypoint: []string{"/canary", "--version"}, NetworkMode: "bridge", ReadOnly: true, Resources: resources},
	})
	if err != nil {
		return err
	}
	if err := c.Life.Start(ctx, id); err != nil {
		return err
	}
	for {
		read, err := c.Life.InspectContainer(ctx, id)
		switch {
		case err != nil:
			return err
		case read.State == api.StateExited && read.ExitCode == 0:
			return c.Life.Remove(ctx, id)
		case read.State == api.StateExited || read.State == api.StateDead:
			return fmt.Errorf("the container ended with exit code %d %s", read.ExitCode, strings.TrimSpace(read.Error))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the container did not end within %s: it is %s", canaryLimit, read.State)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// sweep removes what the canary made, also when the caller has gone.
func (c *Canary) sweep(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), canaryLimit)
	defer cancel()
	_ = c.Life.Remove(ctx, canaryName)
	_ = c.Images.RemoveImage(ctx, canaryImage)
}
