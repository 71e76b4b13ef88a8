package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
		Use:   "scale POOL=N… node=NODE[,NODE…]",
		Short: "Set how many slots of a pool run on a node",
		Long: "Sets the number of running slots of one or more pools on one or more nodes, as one commit in your name, and\n" +
			"shows the rollout until it has ended. Either all of it is done or nothing: it is refused when a node can't hold\n" +
			"what it is to have in the end. The highest slots go first, after their drain. ^C leaves the rollout going.",
		Example: `ktrdrctl scale backtest=3 node=b
ktrdrctl scale backtest=3 training=1 node=b --why "month end"
ktrdrctl scale backtest=1 node=b,c
ktrdrctl scale training=2 node=c --dry-run`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: s.complete(completeScale, nil),
	}
	f := addChangeFlags(cmd, s)
	nodes := cmd.Flags().StringSlice("node", nil, "the same as node=NODE")
	s.completeFlag(cmd, "node", completeNode)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		pools, on, err := parseScale(args, *nodes)
		if err != nil {
			return err
		}
		return s.run(sides{
			fleet: func(cmd *cobra.Command, c *controller, _ []string) error {
				return c.change(cmd, f, c.scaleStep(pools, on, f))
			},
			agent: func(cmd *cobra.Command, c *client, _ []string) error {
				return s.scaleByRepo(cmd, c, f, pools, on)
			},
		})(cmd, args)
	}
	return cmd
}

func parseScale(args, nodes []string) ([]poolScale, []string, error) {
	var pools []poolScale
	seen := map[string]bool{}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" || value == "" {
			return nil, nil, fmt.Errorf("%q: write POOL=N and node=NODE, such as: ktrdrctl scale backtest=3 node=b", arg)
		}
		if seen[name] {
			return nil, nil, fmt.Errorf("%s= is there twice", name)
		}
		seen[name] = true
		if name == "node" && len(nodes) == 0 {
			nodes = strings.Split(value, ",")
			continue
		}
		count, err := strconv.ParseInt(value, 10, 32)
		if err != nil || count < 0 {
			return nil, nil, fmt.Errorf("%s: write a number of slots from 0 on", arg)
		}
		pools = append(pools, poolScale{name, int32(count)})
	}
	slices.Sort(nodes)
	nodes = slices.Compact(nodes)
	switch {
	case len(nodes) == 0:
		return nil, nil, errors.New("on which node? Write node=NODE, such as: ktrdrctl scale backtest=3 node=b")
	case slices.Contains(nodes, ""):
		return nil, nil, errors.New("node=: write names with commas between them, such as: ktrdrctl scale backtest=1 node=b,c")
	case len(pools) == 0:
		return nil, nil, errors.New("which pool? Write POOL=N, such as: ktrdrctl scale backtest=3 node=b")
	}
	return pools, nodes, nil
}

// scaleStep is one request, in the form that older controllers know where that can say it.
func (c *controller) scaleStep(pools []poolScale, nodes []string, f *changeFlags) step {
	req := &ktrdrv1.ScaleRequest{DryRun: f.dryRun, Why: f.why}
	for _, p := range pools {
		for _, node := range nodes {
			req.Sizes = append(req.Sizes, &ktrdrv1.PoolSize{Pool: p.pool, Node: node, Count: p.count})
		}
	}
	several := len(req.GetSizes()) > 1
	if !several {
		req.Pool, req.Node, req.Count, req.Sizes = pools[0].pool, nodes[0], pools[0].count, nil
	}
	return step{
		several: several,
		do:      func(ctx context.Context) (*ktrdrv1.ChangeResponse, error) { return c.Fleet.Scale(ctx, req) },
		plan:    &ktrdrv1.PlanFleetRequest{What: &ktrdrv1.PlanFleetRequest_Scale{Scale: req}},
	}
}
