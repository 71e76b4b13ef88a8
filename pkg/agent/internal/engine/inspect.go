package engine

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"ktrdr.io/fleet/pkg/api"
)

// maxHealthLog bounds what is kept of a healthcheck's output, in bytes.
const maxHealthLog = 512

// InspectContainer reads one container; ErrNotFound when it is gone. One that hangs
// inside the engine (its mounts are on a dead share) ends in ErrTimeout. Before the first
// start the engine tells of networks by name alone: see ResolveNetworks.
// Engine API: GET /containers/{id}/json.
func (c *Client) InspectContainer(ctx context.Context, id string) (*api.Container, error) {
	var read *api.Container
	err := c.do(ctx, call{op: "inspect container", object: id, limit: c.cfg.Query}, func(ctx context.Context, s *session) error {
		var err error
		read, err = s.inspect(ctx, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return read, nil
}

// MeasureContainer returns the size of a container's writable layer in bytes. The engine
// walks the layer for it, which can take as long as Config.Change.
func (c *Client) MeasureContainer(ctx context.Context, id string) (int64, error) {
	size := int64(-1)
	err := c.do(ctx, call{op: "measure container", object: id, limit: c.cfg.Change}, func(ctx context.Context, s *session) error {
		result, err := s.cli.ContainerInspect(ctx, id, client.ContainerInspectOptions{Size: true})
		if err != nil {
			return err
		}
		if result.Container.SizeRw == nil {
			return errors.New("the engine did not tell the size")
		}
		size = *result.Container.SizeRw
		return nil
	})
	return size, err
}

func (s *session) inspect(ctx context.Context, id string) (*api.Container, error) {
	result, err := s.cli.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return nil, err
	}
	return s.of.readContainer(result)
}

// readContainer maps an inspection to the nouns of this module.
func (c *Client) readContainer(result client.ContainerInspectResult) (*api.Container, error) {
	raw := result.Container
	if raw.ID == "" || raw.Config == nil || raw.HostConfig == nil || raw.State == nil {
		return nil, errors.New("the engine's answer is no container")
	}
	read := &api.Container{
		ID:               raw.ID,
		Name:             strings.TrimPrefix(raw.Name, "/"),
		Created:          parseTime(raw.Created),
		Labels:           raw.Config.Labels,
		Image:            raw.Config.Image,
		ImageID:          raw.Image,
		Restarts:         raw.RestartCount,
		Attached:         readAttachments(raw),
		AnonymousVolumes: readAnonymousVolumes(raw.Mounts),
		Facts:            api.ContainerFacts{WritableBytes: -1},
	}
	c.readState(read, raw.State)
	read.Spec = readSpec(raw, legacyMAC(result.Raw))
	return read, nil
}

func (c *Client) readState(read *api.Container, state *container.State) {
	read.State = api.ContainerState(state.Status)
	read.ExitCode = state.ExitCode
	read.OOMKilled = state.OOMKilled
	read.Error = c.cutText(state.Error, nil)
	read.Pid = state.Pid
	read.StartedAt = parseTime(state.StartedAt)
	read.FinishedAt = parseTime(state.FinishedAt)
	if state.Health == nil || state.Health.Status == container.NoHealthcheck {
		return
	}
	read.Health = api.Health(state.Health.Status)
	if n := len(state.Health.Log); n > 0 && state.Health.Log[n-1] != nil {
		read.HealthLog = cutOutput(c.cfg.Redact(state.Health.Log[n-1].Output), maxHealthLog)
	}
}

// parseTime reads the engine's times; its zero time ("0001-01-01T00:00:00Z") is Go's.
func parseTime(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return t
}

// cutOutput keeps the first limit bytes of what a process wrote.
func cutOutput(text string, limit int) string {
	if len(text) > limit {
		text = text[:limit]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// legacyMAC reads Config.MacAddress, which the client's types left behind at API 1.44:
// engines before that keep the configured address nowhere else.
func legacyMAC(raw json.RawMessage) string {
	var legacy struct {
		Config struct{ MacAddress string }
	}
	if json.Unmarshal(raw, &legacy) != nil {
		return ""
	}
	return legacy.Config.MacAddress
}
