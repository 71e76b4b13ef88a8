package fleet

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// shown is view for those who look. Where the files of the head can't be read, as on a full
// disk, it has what the controller knows without them: the nodes of the newest rollout and those
// that have joined.
func (s *Service) shown(ctx context.Context) (*view, error) {
	v, err := s.view(ctx)
	if err == nil || ctx.Err() != nil {
		return v, err
	}
	v = &view{Moment: s.cfg.Ledger.Moment(), outline: &desired.Outline{Nodes: map[string]api.NodeFile{}}, unread: err}
	for name := range v.Newest.Record.Targets {
		v.outline.Nodes[name] = api.NodeFile{}
	}
	for w := range v.Newest.Record.Waves {
		for _, p := range v.Newest.Record.Waves[w].Nodes {
			v.outline.Nodes[p.Node] = api.NodeFile{}
		}
	}
	return v, nil
}

// conditions tell what the view lacks.
func (v *view) conditions() []*ktrdrv1.Condition {
	if v.unread == nil {
		return nil
	}
	reason := api.ReasonHeadUnreadable
	if errors.Is(v.unread, syscall.ENOSPC) {
		reason = api.ReasonDiskFull
	}
	return []*ktrdrv1.Condition{wire.ConditionToProto(api.Condition{
		Type: api.ConditionDegraded, Status: true, Reason: reason, Object: "controller",
		Message: fmt.Sprintf("the files of the head %.12s can't be read: host names, pools and nodes without a rollout are not shown: %s", v.Head.Revision, v.unread),
	})}
}
