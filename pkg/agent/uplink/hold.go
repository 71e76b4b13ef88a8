package uplink

import (
	"slices"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Limits of a hold, the same as those of the agent's socket.
const (
	maxHold     = 366 * 24 * time.Hour
	maxHoldText = 500
)

func (c *commands) hold(m *ktrdrv1.HoldCommand, by string) error {
	now := time.Now()
	h := &api.Hold{
		Until: wire.Time(m.GetHold().GetUntil()), Why: strings.TrimSpace(m.GetHold().GetWhy()), Who: strings.TrimSpace(m.GetHold().GetWho()), Since: now,
	}
	if h.Who == "" {
		h.Who = by
	}
	switch {
	case h.Why == "":
		return refuse(reasonInvalid, "say why, for those who find the stack on hold")
	case len(h.Why) > maxHoldText || len(h.Who) > maxHoldText:
		return refuse(reasonInvalid, "why and who have at most %d bytes", maxHoldText)
	case !h.Until.IsZero() && (h.Until.Before(now) || h.Until.Sub(now) > maxHold):
		return refuse(reasonInvalid, "a hold ends later than now and within %s", maxHold)
	}
	h.Why, h.Who = clean(h.Why, maxHoldText), clean(h.Who, maxHoldText)
	if err := c.knows(m.GetStack()); err != nil {
		return err
	}
	return c.s.link.cfg.Backend.Hold(m.GetStack(), h)
}

func (c *commands) resume(m *ktrdrv1.ResumeCommand) error {
	if err := c.knows(m.GetStack()); err != nil {
		return err
	}
	return c.s.link.cfg.Backend.Hold(m.GetStack(), nil)
}

// knows refuses names that are no stack of this node.
func (c *commands) knows(stack string) error {
	stacks := c.s.link.cfg.Report.Status().Stacks
	if slices.ContainsFunc(stacks, func(s api.StackStatus) bool { return s.Name == stack }) {
		return nil
	}
	return refuse(reasonInvalid, "this node has no stack %q", clean(stack, maxName))
}
