package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/moby/client"

	"ktrdr.io/fleet/pkg/api"
)

// InspectImage resolves a reference or id to a local image. ErrNotFound says that it is
// not there, or not for the wanted platform ("linux/arm64"; empty takes any).
// Engine API: GET /images/{name}/json.
func (c *Client) InspectImage(ctx context.Context, ref, platform string) (*api.Image, error) {
	var read *api.Image
	err := c.do(ctx, call{op: "inspect image", object: ref, limit: c.cfg.Query}, func(ctx context.Context, s *session) error {
		wanted, err := parsePlatform(platform)
		if err != nil {
			return err
		}
		var options []client.ImageInspectOption
		if wanted != nil && s.atLeast("1.49") {
			options = append(options, client.ImageInspectWithPlatform(wanted))
		}
		result, err := s.cli.ImageInspect(ctx, ref, options...)
		if err != nil {
			return err
		}
		read = readImage(ref, result)
		if wanted != nil && !samePlatform(*wanted, result) {
			return &Error{
				Op: "inspect image", Object: ref, Class: api.Transient, Reason: api.ReasonImageMissing,
				Err: fmt.Errorf("%w: the local image is for %s, not for %s", ErrNotFound, read.Platform, platform),
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return read, nil
}

func readImage(ref string, result client.ImageInspectResult) *api.Image {
	read := &api.Image{
		ID:       result.ID,
		Digest:   repositoryDigest(ref, result.RepoDigests),
		TaggedAt: result.Metadata.LastTagTime,
		Platform: strings.Trim(result.Os+"/"+result.Architecture+"/"+result.Variant, "/"),
	}
	if result.Config != nil {
		read.Config = readImageConfig(result.Config)
		read.Volumes = slices.Sorted(maps.Keys(result.Config.Volumes))
		read.Shell = result.Config.Shell
	}
	return read
}

func readImageConfig(cfg *dockerspec.DockerOCIImageConfig) api.ContainerSpec {
	spec := api.ContainerSpec{
		Command: cfg.Cmd, Entrypoint: cfg.Entrypoint, Env: cfg.Env, Labels: cfg.Labels,
		User: cfg.User, WorkingDir: cfg.WorkingDir, StopSignal: cfg.StopSignal,
		Expose: slices.Sorted(maps.Keys(cfg.ExposedPorts)),
	}
	if check := cfg.Healthcheck; check != nil {
		spec.Healthcheck = &api.Healthcheck{
			Test: check.Test, Interval: check.Interval, Timeout: check.Timeout,
			StartPeriod: check.StartPeriod, StartInterval: check.StartInterval, Retries: check.Retries,
		}
	}
	return spec
}

// repositoryDigest picks the digest of the repository that the reference names: an image
// may carry digests of several.
func repositoryDigest(ref string, digests []string) string {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ""
	}
	for _, digest := range digests {
		parsed, err := reference.ParseNormalizedNamed(digest)
		if err != nil || parsed.Name() != named.Name() {
			continue
		}
		if digested, ok := parsed.(reference.Digested); ok {
			return digested.Digest().String()
		}
	}
	return ""
}

// waitIdle returns a context that ends when touch was not called for as long as idle.
func waitIdle(ctx context.Context, idle time.Duration) (idleCtx context.Context, touch func(), cancel context.CancelFunc) {
	idleCtx, cancelCause := context.WithCancelCause(ctx)
	timer := time.AfterFunc(idle, func() { cancelCause(context.DeadlineExceeded) })
	return idleCtx, func() { timer.Reset(idle) }, func() {
		timer.Stop()
		cancelCause(nil)
	}
}
