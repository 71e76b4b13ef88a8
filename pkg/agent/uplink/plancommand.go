package uplink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/plans"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// planLimit bounds one planning, its files' way included.
const planLimit = 2 * time.Minute

func (c *commands) plan(ctx context.Context, m *ktrdrv1.PlanCommand) (*ktrdrv1.PlanResult, error) {
	answer := &ktrdrv1.PlanResult{}
	if m.GetSlice() == nil {
		for _, p := range c.s.link.cfg.Backend.Plans() {
			answer.Plans = append(answer.Plans, plans.ToProto(p))
		}
		return answer, nil
	}
	limited, cancel := context.WithTimeout(ctx, planLimit)
	defer cancel()
	err := c.tree(limited, m.GetSlice(), func(dir string) error {
		list, err := c.s.link.cfg.Backend.PlanTree(limited, dir)
		if invalid, ok := errors.AsType[*desired.Error](err); ok {
			answer.Problems = plans.ProblemsToProto(invalid.Problems)
			return nil
		}
		for _, p := range list {
			p.Revision = m.GetSlice().GetRevision()
			answer.Plans = append(answer.Plans, plans.ToProto(p))
		}
		return err
	})
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return nil, refuse(reasonDeadline, "not planned within %s", planLimit)
	}
	return answer, err
}

// tree writes a slice that is not the desired state into a folder of its own for use.
func (c *commands) tree(ctx context.Context, m *ktrdrv1.Slice, use func(dir string) error) error {
	select {
	case c.planning <- struct{}{}:
		defer func() { <-c.planning }()
	case <-ctx.Done():
		return ctx.Err()
	}
	o, err := offerOf(m)
	if err != nil {
		return refuse(reasonInvalid, "%s", err)
	}
	dir, err := os.MkdirTemp("", "ktrdr-plan-*")
	if err != nil {
		return fmt.Errorf("make a folder for the tree: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder; what stays is cleaned up with the others
	if err := c.s.link.cfg.Source.Assemble(ctx, o, dir, &enclosed{bringer{c.s}, m.GetContents()}); err != nil {
		return err
	}
	return use(dir)
}

// enclosed brings what came with a slice first, and asks for the rest.
type enclosed struct {
	bringer
	parts []*ktrdrv1.FileChunk
}

// Bring implements source.Bringer.
func (e *enclosed) Bring(ctx context.Context, revision string, sums []source.Sum) error {
	if e.parts == nil {
		return e.bringer.Bring(ctx, revision, sums)
	}
	e.s.keep(ctx, e.parts)
	e.parts = nil
	return nil
}

func (c *commands) doctor(ctx context.Context, id string, m *ktrdrv1.DoctorCommand) error {
	doctor := c.s.link.cfg.Doctor
	if doctor == nil {
		return refuse(reasonUnsupported, "this agent checks nothing about its node; update the agent")
	}
	check := func(dir string) error {
		return doctor.Check(ctx, DoctorRequest{Dir: dir, Canary: m.GetCanary()}, func(row api.Check) {
			c.out(ctx, &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Output{Output: &ktrdrv1.CommandOutput{
				Id: id, Kind: &ktrdrv1.CommandOutput_Check{Check: wire.CheckToProto(row)},
			}}})
		})
	}
	if m.GetSlice() == nil {
		return check("")
	}
	return c.tree(ctx, m.GetSlice(), check)
}
