package engine

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/api"
)

// inspectors bounds how many containers are inspected at a time.
const inspectors = 8

// List reads everything that the engine holds: all containers, each inspected, and all
// networks and volumes. A container that disappears meanwhile is left out; one whose
// inspection times out has Facts.Unresponsive set and only what the list knew. Any other
// failure fails the whole list: half a truth would prune.
func (c *Client) List(ctx context.Context) (List, error) {
	var list List
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		list.Containers, err = c.listContainers(groupCtx)
		return err
	})
	group.Go(func() (err error) {
		list.Networks, err = c.listNetworks(groupCtx)
		return err
	})
	group.Go(func() (err error) {
		list.Volumes, err = c.listVolumes(groupCtx)
		return err
	})
	if err := group.Wait(); err != nil {
		return List{}, err
	}
	for _, read := range list.Containers {
		ResolveNetworks(read, slices.Values(list.Networks))
	}
	return list, nil
}

func (c *Client) listContainers(ctx context.Context) ([]*api.Container, error) {
	var summaries []container.Summary
	err := c.do(ctx, call{op: "list containers", object: "of " + c.cfg.Host, limit: c.cfg.Query}, func(ctx context.Context, s *session) error {
		result, err := s.cli.ContainerList(ctx, client.ContainerListOptions{All: true})
		summaries = result.Items
		return err
	})
	if err != nil {
		return nil, err
	}
	read := make([]*api.Container, len(summaries))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(inspectors)
	for i, summary := range summaries {
		group.Go(func() (err error) {
			read[i], err = c.inspectListed(groupCtx, summary)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(read, func(c *api.Container) bool { return c == nil }), nil
}

// inspectListed returns nil without an error when the container is gone.
func (c *Client) inspectListed(ctx context.Context, summary container.Summary) (*api.Container, error) {
	var read *api.Container
	err := c.do(ctx, call{op: "inspect container", object: summary.ID, limit: c.cfg.Query}, func(ctx context.Context, s *session) (err error) {
		read, err = s.inspect(ctx, summary.ID)
		return err
	})
	switch {
	case err == nil:
		return read, nil
	case errors.Is(err, ErrNotFound):
		return nil, nil
	case errors.Is(err, ErrTimeout) && ctx.Err() == nil:
		return unresponsive(summary), nil
	default:
		return nil, err
	}
}

// unresponsive is what the list alone knows of a container.
func unresponsive(summary container.Summary) *api.Container {
	read := &api.Container{
		ID: summary.ID, Created: time.Unix(summary.Created, 0),
		Labels: summary.Labels, Image: summary.Image, ImageID: summary.ImageID,
		State: api.ContainerState(summary.State),
		Facts: api.ContainerFacts{WritableBytes: -1, Unresponsive: true},
	}
	for _, name := range summary.Names {
		// Names of links have a second slash.
		if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") {
			read.Name = name
		}
	}
	return read
}
