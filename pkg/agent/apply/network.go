package apply

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// network runs operations about networks, attachments and volumes.
func (x *Executor) network(ctx context.Context, op plan.Op, t plan.Target) error {
	e := x.cfg.Engine
	// Apply hands over only these.
	//exhaustive:ignore
	switch op.Kind {
	case plan.CreateNetwork:
		id, err := e.CreateNetwork(ctx, *op.Network, networkLabels(op.Network, t))
		if err != nil {
			return err
		}
		return x.cfg.Cache.RefreshNetwork(ctx, id)
	case plan.RemoveNetwork:
		err := e.RemoveNetwork(ctx, op.ID)
		return x.readBackNetwork(ctx, op.ID, err)
	case plan.CreateVolume:
		if err := e.CreateVolume(ctx, *op.Volume, volumeLabels(op.Volume, t)); err != nil {
			return err
		}
		return x.cfg.Cache.RefreshVolume(ctx, op.Volume.Name)
	case plan.Connect:
		req := engine.ConnectRequest{NetworkID: op.NetworkID, ContainerID: op.ID, Endpoint: *op.Endpoint}
		return x.cfg.Cache.Change(ctx, op.ID, func() (string, error) { return op.ID, e.Connect(ctx, req) })
	case plan.Disconnect:
		return x.cfg.Cache.Change(ctx, op.ID, func() (string, error) { return op.ID, e.Disconnect(ctx, op.NetworkID, op.ID) })
	default:
		return fmt.Errorf("operation %q is not about networks or volumes", op.Kind)
	}
}

func (x *Executor) readBackNetwork(ctx context.Context, id string, err error) error {
	refreshErr := x.cfg.Cache.RefreshNetwork(ctx, id)
	if err != nil {
		return err
	}
	if errors.Is(refreshErr, engine.ErrNotFound) {
		return nil
	}
	return refreshErr
}

func networkLabels(n *api.NetworkSpec, t plan.Target) map[string]string {
	labels := objectLabels(n.Labels, n.Hash(), t)
	labels[api.LabelNetwork] = n.Key
	return labels
}

func volumeLabels(v *api.VolumeSpec, t plan.Target) map[string]string {
	labels := objectLabels(v.Labels, v.Hash(), t)
	labels[api.LabelVolume] = v.Key
	return labels
}

// objectLabels are what Compose writes on networks and volumes, and ours.
func objectLabels(own map[string]string, hash string, t plan.Target) map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, own)
	labels[api.LabelProject] = t.Stack.Project
	labels[api.LabelVersion] = composeVersion
	labels[api.LabelConfigHash] = hash
	labels[api.LabelStack] = t.Stack.Name
	labels[api.LabelNode] = t.Desired.Node
	labels[api.LabelSpecHash] = hash
	return labels
}
