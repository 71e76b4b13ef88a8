package ctl

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// syncPoll is the time between two looks of sync --wait.
const syncPoll = 250 * time.Millisecond

func (s *session) syncCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Make the agent look at its source now",
		Long:  "With --wait, waits until what it finds there has converged or is blocked, an update also until\nits monitor time is over, and shows the status. The exit code says how it went: see ktrdrctl help exit-codes.",
		Args:  cobra.NoArgs,
	}
	format := output(cmd, formatTable, formatWide, formatJSON, formatYAML)
	wait := cmd.Flags().Bool("wait", false, "wait for the result")
	limit := cmd.Flags().Duration("wait-timeout", 10*time.Minute, "how long to wait for the result")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := s.client()
		if err != nil {
			return err
		}
		before, err := c.status(cmd.Context())
		if err != nil {
			return err
		}
		if err := c.post(cmd.Context(), "/v1/sync", nil); err != nil {
			return err
		}
		if !*wait {
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "the agent looks at its source")
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), *limit)
		defer cancel()
		st, err := settled(ctx, c, before.SourceCheckAt)
		if err != nil {
			return err
		}
		if err := (view{cmd.OutOrStdout(), *format}).status(st); err != nil {
			return err
		}
		return verdict(st)
	}
	return cmd
}

// settled waits until the source was looked at after the time before, and until nothing
// changes any more without somebody acting. When ctx ends first, the last status counts.
func settled(ctx context.Context, c *client, before time.Time) (*api.NodeStatus, error) {
	ticker := time.NewTicker(syncPoll)
	defer ticker.Stop()
	var last *api.NodeStatus
	for {
		st, err := c.status(ctx)
		if err == nil {
			last = st
		}
		switch {
		case ctx.Err() != nil && last != nil:
			return last, nil
		case err != nil:
			return nil, err
		case st.SourceCheckAt.After(before) && isSettled(st):
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
