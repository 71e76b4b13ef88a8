package ctl

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"ktrdr.io/fleet/pkg/ctl/internal/remote"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// nodesAtOnce is for fleets whose state does not fit into one message: 100 nodes of 20
// services are about 1 MiB.
const nodesAtOnce = 100

// document asks for the whole fleet.
func (c *controller) document(ctx context.Context) (*document, error) {
	d, err := c.picture(ctx)
	if tooLarge(err) {
		return c.inParts(ctx) // a controller of an earlier version
	}
	return d, err
}

// tooLarge says that the answer does not fit into one message.
func tooLarge(err error) bool {
	refused, ok := errors.AsType[*remote.RefusedError](err)
	return ok && refused.Code == codes.ResourceExhausted
}

// picture takes the first picture of a watch: it comes in parts, each of which is read while the
// controller makes the next one.
func (c *controller) picture(ctx context.Context) (*document, error) {
	var d *document
	err := c.call(ctx, 0, func(ctx context.Context) error {
		stream, err := c.Fleet.WatchFleet(ctx, &ktrdrv1.GetFleetRequest{}, remote.Large())
		for more := true; more && err == nil; {
			var u *ktrdrv1.FleetUpdate
			if u, err = stream.Recv(); err != nil {
				break
			}
			if more = u.GetMore(); d == nil {
				d = ofFleet(u.GetFleet(), c.Address())
				continue
			}
			d.add(u.GetNodes())
		}
		if err == nil {
			d.sort()
			d.doubt(time.Now())
		}
		return err
	})
	return d, err
}

// ask asks for some nodes.
func (c *controller) ask(ctx context.Context, nodes []string) (*document, error) {
	var d *document
	err := c.call(ctx, 0, func(ctx context.Context) error {
		f, err := c.Fleet.GetFleet(ctx, &ktrdrv1.GetFleetRequest{Nodes: nodes}, remote.Large())
		if err == nil {
			d = ofFleet(f, c.Address())
			d.doubt(time.Now())
		}
		return err
	})
	return d, err
}

// inParts asks for the names of all nodes, which fit, and then for some at a time.
func (c *controller) inParts(ctx context.Context) (*document, error) {
	var names []string
	err := c.call(ctx, 0, func(ctx context.Context) error {
		r, err := c.Nodes.ListNodes(ctx, &ktrdrv1.ListNodesRequest{}, remote.Large())
		names = each(r.GetNodes(), func(n *ktrdrv1.Node) string { return n.GetName() })
		return err
	})
	if err != nil {
		return nil, err
	}
	var all *document
	for part := range slices.Chunk(names, nodesAtOnce) {
		d, err := c.ask(ctx, part)
		if err != nil {
			return nil, err
		}
		if all != nil {
			d.Nodes = append(all.Nodes, d.Nodes...)
		}
		all = d
	}
	if all == nil {
		return nil, errors.New("the fleet's state is larger than a message, and it has no nodes: is the controller of another version?")
	}
	all.sort()
	return all, nil
}
