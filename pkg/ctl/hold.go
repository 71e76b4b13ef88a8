package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

func (s *session) holdCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hold STACK --why TEXT [--for 2h]",
		Short: "Let agents change nothing of a stack",
		Long: "Suspends all changes and repairs of a stack, for a time or until ktrdrctl resume: on all connected nodes\n" +
			"that have it, or on some. A restart of the agent does not end it.",
		Example: `ktrdrctl hold core --for 2h --why "database maintenance"
ktrdrctl hold workers --node b --why "looking at a memory leak"`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.complete(completeStack),
	}
	length := cmd.Flags().Duration("for", 0, "how long, such as 30m or 2h; 0 until resumed")
	why := cmd.Flags().String("why", "", "the reason, for those who find the stack on hold")
	nodes := s.nodeFlag(cmd)
	two := sides{
		fleet: func(cmd *cobra.Command, c *controller, args []string) error {
			req := &ktrdrv1.HoldRequest{Stack: args[0], Nodes: *nodes, Why: *why}
			if *length > 0 {
				req.Until = timestamppb.New(time.Now().Add(*length))
			}
			return c.onNodes(cmd, "on hold "+until(args[0], *length), func(ctx context.Context) (*ktrdrv1.NodeResults, error) {
				return c.Fleet.Hold(ctx, req)
			})
		},
		agent: func(cmd *cobra.Command, c *client, args []string) error {
			body := map[string]string{"stack": args[0], "why": *why, "who": whoami()}
			if *length > 0 {
				body["for"] = length.String()
			}
			if err := c.post(cmd.Context(), "/v1/hold", body); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "stack %s is on hold %s\n", args[0], until(args[0], *length))
			return err
		},
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *why == "" {
			return errors.New("--why: say why, for those who find the stack on hold")
		}
		if *length < 0 {
			return fmt.Errorf("--for %s: write a duration such as 30m or 2h", *length)
		}
		return s.run(two)(cmd, args)
	}
	return cmd
}

func until(stack string, length time.Duration) string {
	if length > 0 {
		return "for " + length.String()
	}
	return "until ktrdrctl resume " + stack
}

// nodeFlag adds --node for verbs that reach several nodes.
func (s *session) nodeFlag(cmd *cobra.Command) *[]string {
	nodes := cmd.Flags().StringSlice("node", nil, "these nodes only")
	s.completeFlag(cmd, "node", completeNode)
	return nodes
}

func (s *session) resumeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume STACK",
		Short: "End a hold, or try an update again that failed",
		Long: "Ends a hold. Ends the quarantine of an update that was rolled back or paused, too: the same\n" +
			"revision is tried once more. ktrdrctl sync does not do that.",
		Example: `ktrdrctl resume core
ktrdrctl resume workers --node b`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.complete(completeStack),
	}
	nodes := s.nodeFlag(cmd)
	cmd.RunE = s.run(sides{
		fleet: func(cmd *cobra.Command, c *controller, args []string) error {
			return c.onNodes(cmd, "resumed", func(ctx context.Context) (*ktrdrv1.NodeResults, error) {
				return c.Fleet.Resume(ctx, &ktrdrv1.ResumeRequest{Stack: args[0], Nodes: *nodes})
			})
		},
		agent: func(cmd *cobra.Command, c *client, args []string) error {
			if err := c.post(cmd.Context(), "/v1/resume", map[string]string{"stack": args[0]}); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "stack %s is resumed\n", args[0])
			return err
		},
	})
	return cmd
}

// onNodes runs a request that each node answers for itself. It ends with 2 when one of
// them did not do it.
func (c *controller) onNodes(cmd *cobra.Command, done string, do func(context.Context) (*ktrdrv1.NodeResults, error)) error {
	var r *ktrdrv1.NodeResults
	err := c.call(cmd.Context(), nodePatience, func(ctx context.Context) (err error) {
		r, err = do(ctx)
		return err
	})
	if err != nil {
		return err
	}
	failed := false
	var rows [][]string
	for _, n := range r.GetResults() {
		row := []string{oneLine(n.GetNode()), good(done), ""}
		if n.GetReason() != "" {
			failed = true
			row = []string{oneLine(n.GetNode()), bad(oneLine(n.GetReason())), withoutNode(n)}
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return errors.New("no node was asked: none that is connected has it")
	}
	if _, err := lipgloss.Fprintln(cmd.OutOrStdout(), columns([]string{"NODE", "RESULT", ""}, rows)); err != nil {
		return err
	}
	if failed {
		return exitCode(exitPending)
	}
	return nil
}

// whoami is user@host, as far as they are known. It is a note for people, not a proof.
func whoami() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// parseSince reads a point in time: a duration ago, or RFC 3339.
func parseSince(now time.Time, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("--since %s: write a duration such as 30m, or a time such as 2026-01-31T12:00:00Z", text)
	}
	return t, nil
}
