package controller

import (
	"fmt"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/fleet"
	"ktrdr.io/fleet/pkg/telemetry"
)

// authorityWarning is how long before its end an authority has to be replaced.
const authorityWarning = 180 * 24 * time.Hour

func (c *Controller) nodes() *fleet.Nodes { return fleet.NewNodes(c.fleet, c.enroll) }

// problems are statements about the controller itself.
func (c *Controller) problems() []api.Condition {
	var out []api.Condition
	if authority := c.authority.Load(); authority != nil && time.Until(authority.NotAfter()) < authorityWarning {
		out = append(out, api.Condition{
			Type: api.ConditionWarning, Status: true, Reason: api.ReasonAuthorityExpiring, Object: "authority",
			Message: fmt.Sprintf("the fleet's authority ends on %s and every certificate with it: replace it, see docs/spec/security.md", authority.NotAfter().Format(time.DateOnly)),
		})
	}
	if c.follower != nil {
		if p := c.follower.problem(); p != nil {
			out = append(out, *p)
		}
	}
	return out
}

// state is what metrics tell.
func (c *Controller) state() telemetry.FleetState {
	out := telemetry.FleetState{Leading: c.leading.Load()}
	if c.hub == nil {
		return out
	}
	for _, n := range c.hub.News(0).Nodes {
		if n.Joined != nil {
			out.Joined++
		}
		if !n.Connected {
			continue
		}
		out.Connected++
		if n.Controller == c.id {
			out.ConnectedHere++
		}
		if n.Status != nil && n.Status.Converged {
			out.Converged++
		}
	}
	if newest, ok := c.ledger.Newest(); ok {
		out.Rollout, out.Since, out.Desired = string(newest.Record.Phase), newest.Record.Started, len(newest.Record.Targets)
	}
	return out
}
