package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// syncPoll is the time between two looks of sync --wait.
const syncPoll = 250 * time.Millisecond

func (s *session) syncCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Look at the repository and at secrets now",
		Long: "Makes the controller look at its repository and nodes at their secrets, or one agent at its source.\n" +
			"With --wait, waits until what is found there has converged or is blocked, an update also until its\n" +
			"monitor time is over, and shows the status. The exit code says how it went: see ktrdrctl help exit-codes.",
		Example: `ktrdrctl sync
ktrdrctl sync --wait
ktrdrctl sync --node b`,
		Args: cobra.NoArgs,
	}
	format := output(cmd, formatTable, formatWide, formatJSON, formatYAML)
	wait := cmd.Flags().Bool("wait", false, "wait for the result")
	limit := cmd.Flags().Duration("wait-timeout", 10*time.Minute, "how long to wait for the result")
	nodes := s.nodeFlag(cmd)
	cmd.RunE = s.run(sides{
		fleet: func(cmd *cobra.Command, c *controller, _ []string) error {
			v := view{cmd.OutOrStdout(), *format}
			err := c.onNodes(cmd, "looks", func(ctx context.Context) (*ktrdrv1.NodeResults, error) {
				return c.Fleet.Sync(ctx, &ktrdrv1.SyncRequest{Nodes: *nodes})
			})
			if _, away := errors.AsType[exitCode](err); !*wait || err != nil && !away {
				return err
			}
			if err := c.await(cmd, &changeFlags{quiet: v.format != formatTable && v.format != formatWide, limit: *limit}, ""); err != nil {
				return err
			}
			d, err := c.document(cmd.Context())
			return show(v, d, nil, err)
		},
		agent: func(cmd *cobra.Command, c *client, _ []string) error {
			return c.sync(cmd, *wait, *limit, view{cmd.OutOrStdout(), *format})
		},
	})
	return cmd
}

func (c *client) sync(cmd *cobra.Command, wait bool, limit time.Duration, v view) error { //nolint:revive // the flag of the command
	before, err := c.status(cmd.Context())
	if err != nil {
		return err
	}
	if err := c.post(cmd.Context(), "/v1/sync", nil); err != nil {
		return err
	}
	if !wait {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), "the agent looks at its source")
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), limit)
	defer cancel()
	st, err := settled(ctx, c, before)
	if err != nil {
		return err
	}
	return show(v, ofAgent(st), nil, nil)
}

// settled waits until the source was looked at after the status before, and until nothing
// changes any more without somebody acting. When ctx ends first, the last status counts.
func settled(ctx context.Context, c *client, before *api.NodeStatus) (*api.NodeStatus, error) {
	ticker := time.NewTicker(syncPoll)
	defer ticker.Stop()
	last := before
	for {
		st, err := c.status(ctx)
		if err == nil {
			last = st
		}
		switch {
		case ctx.Err() != nil:
			return last, nil
		case err != nil:
			return nil, err
		case st.SourceCheckAt.After(before.SourceCheckAt) && isSettled(st):
			return st, nil
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// isSettled says that the source gave nothing new, and every stack is converged, on hold
// or blocked.
func isSettled(st *api.NodeStatus) bool {
	for i := range st.Stacks {
		s := &st.Stacks[i]
		stuck := len(s.Pending) == 0 && slices.ContainsFunc(s.Conditions, isBlocked)
		if s.Hold == nil && !stuck && (!s.Converged || isMonitored(s)) {
			return false
		}
	}
	return true
}

// isMonitored says that an update runs well but may still be rolled back: its success is
// not to be told yet.
func isMonitored(s *api.StackStatus) bool {
	return s.Rollout != nil && s.Rollout.Phase == string(plan.Updating)
}
