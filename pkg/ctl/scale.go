package ctl

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// poolScale is one POOL=N.
type poolScale struct {
	pool  string
	count int32
}

func (p poolScale) String() string { return fmt.Sprintf("%s=%d", p.pool, p.count) }

func (s *session) scaleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scale POOL=N… node=NODE",
		Short: "Set how many slots of a pool run on a node",
		Long: "Sets the number of running slots of one or more pools of a node, as a commit in your name, and shows the\n" +
			"rollout until it has ended. It is refused when the node can't hold them. The highest slots go first, after\n" +
			"their drain. ^C leaves the rollout going.",
		Example: `ktrdrctl scale backtest=3 node=b
ktrdrctl scale backtest=3 training=1 node=b --why "month end"
ktrdrctl scale training=2 node=c --dry-run`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: s.complete(completeScale, nil),
	}
	f := addChangeFlags(cmd, s)
	node := cmd.Flags().String("node", "", "the same as node=NODE")
	s.completeFlag(cmd, "node", completeNode)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		pools, on, err := parseScale(args, *node)
		if err != nil {
			return err
		}
		return s.run(sides{
			fleet: func(cmd *cobra.Command, c *controller, _ []string) error {
				return c.change(cmd, f, c.scaleSteps(pools, on, f))
			},
			agent: func(cmd *cobra.Command, c *client, _ []string) error {
				return s.scaleByRepo(cmd, c, f, pools, on)
			},
		})(cmd, args)
	}
	return cmd
}

func parseScale(args []string, node string) ([]poolScale, string, error) {
	var pools []poolScale
	seen := map[string]bool{}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" || value == "" {
			return nil, "", fmt.Errorf("%q: write POOL=N and node=NODE, such as: ktrdrctl scale backtest=3 node=b", arg)
		}
		if seen[name] {
			return nil, "", fmt.Errorf("%s= is there twice", name)
		}
		seen[name] = true
		if name == "node" && node == "" {
			node = value
			continue
		}
		count, err := strconv.ParseInt(value, 10, 32)
		if err != nil || count < 0 {
			return nil, "", fmt.Errorf("%s: write a number of slots from 0 on", arg)
		}
		pools = append(pools, poolScale{name, int32(count)})
	}
	switch {
	case node == "":
		return nil, "", errors.New("on which node? Write node=NODE, such as: ktrdrctl scale backtest=3 node=b")
	case len(pools) == 0:
		return nil, "", errors.New("which pool? Write POOL=N, such as: ktrdrctl scale backtest=3 node=b")
	}
	return pools, node, nil
}

func (c *controller) scaleSteps(pools []poolScale, node string, f *changeFlags) []step {
	var steps []step
	for _, p := range pools {
		req := &ktrdrv1.ScaleRequest{Pool: p.pool, Node: node, Count: p.count, DryRun: f.dryRun, Why: f.why}
		steps = append(steps, step{
			name: p.String(),
			do: func(ctx context.Context) (*ktrdrv1.ChangeResponse, error) {
				return c.Fleet.Scale(ctx, req)
			},
			plan: &ktrdrv1.PlanFleetRequest{What: &ktrdrv1.PlanFleetRequest_Scale{Scale: req}},
		})
	}
	return steps
}
