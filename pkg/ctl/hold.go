package ctl

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"
)

func (s *session) holdCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hold STACK --why TEXT [--for 2h]",
		Short: "Let the agent change nothing of a stack",
		Long: "Suspends all changes and repairs of a stack, for a time or until ktrdrctl resume.\n" +
			"A restart of the agent does not end it.",
		Example:           `ktrdrctl hold core --for 2h --why "database maintenance"`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeStacks,
	}
	length := cmd.Flags().Duration("for", 0, "how long, such as 30m or 2h; 0 until resumed")
	why := cmd.Flags().String("why", "", "the reason, for those who find the stack on hold")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *why == "" {
			return errors.New("--why: say why, for those who find the stack on hold")
		}
		if *length < 0 {
			return fmt.Errorf("--for %s: write a duration such as 30m or 2h", *length)
		}
		c, err := s.client()
		if err != nil {
			return err
		}
		body := map[string]string{"stack": args[0], "why": *why, "who": whoami()}
		until := "until ktrdrctl resume " + args[0]
		if *length > 0 {
			body["for"] = length.String()
			until = "for " + length.String()
		}
		if err := c.post(cmd.Context(), "/v1/hold", body); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "stack %s is on hold %s\n", args[0], until)
		return err
	}
	return cmd
}

func (s *session) resumeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume STACK",
		Short: "End a hold, or try an update again that failed",
		Long: "Ends a hold. Ends the quarantine of an update that was rolled back or paused, too: the same\n" +
			"revision is tried once more. ktrdrctl sync does not do that.",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: s.completeStacks,
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := s.client()
		if err != nil {
			return err
		}
		if err := c.post(cmd.Context(), "/v1/resume", map[string]string{"stack": args[0]}); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "stack %s is resumed\n", args[0])
		return err
	}
	return cmd
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
