package engine

import (
	"context"

	"github.com/moby/moby/api/types/volume"
	"github.com/moby/moby/client"

	"ktrdr.io/fleet/pkg/api"
)

// InspectVolume reads one volume by name; ErrNotFound when it is gone.
// Engine API: GET /volumes/{name}.
func (c *Client) InspectVolume(ctx context.Context, name string) (*api.Volume, error) {
	var read *api.Volume
	err := c.do(ctx, call{op: "inspect volume", object: name, limit: c.cfg.Query}, func(ctx context.Context, s *session) error {
		result, err := s.cli.VolumeInspect(ctx, name, client.VolumeInspectOptions{})
		if err != nil {
			return err
		}
		read = readVolume(result.Volume)
		return nil
	})
	return read, err
}

func (c *Client) listVolumes(ctx context.Context) ([]*api.Volume, error) {
	var list []*api.Volume
	err := c.do(ctx, call{op: "list volumes", object: "of " + c.cfg.Host, limit: c.cfg.Query}, func(ctx context.Context, s *session) error {
		result, err := s.cli.VolumeList(ctx, client.VolumeListOptions{})
		if err != nil {
			return err
		}
		for _, item := range result.Items {
			list = append(list, readVolume(item))
		}
		return nil
	})
	return list, err
}

func readVolume(v volume.Volume) *api.Volume {
	return &api.Volume{Name: v.Name, Driver: v.Driver, Labels: v.Labels, Options: v.Options}
}

// CreateVolume creates a volume; labels win over the spec's. One that exists is success
// and stays as it is, whatever its options: volumes are never changed. With another
// driver the engine answers ErrConflict. Engine API: POST /volumes/create.
func (c *Client) CreateVolume(ctx context.Context, spec api.VolumeSpec, labels map[string]string) error {
	return c.do(ctx, call{op: "create volume", object: spec.Name, limit: c.cfg.Change}, func(ctx context.Context, s *session) error {
		_, err := s.cli.VolumeCreate(ctx, client.VolumeCreateOptions{
			Name: spec.Name, Driver: spec.Driver, DriverOpts: spec.DriverOpts, Labels: mergeLabels(spec.Labels, labels),
		})
		return err
	})
}
