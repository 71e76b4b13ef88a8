package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/api"
)

// longPoll is how long the agent may keep a question about new events.
const longPoll = 30 * time.Second

// lostPause is the time between two tries to reach an agent that went away.
const lostPause = 2 * time.Second

func (s *session) eventsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events",
		Short: "What changed: states, repairs, failures",
		Long: "Shows the newest events of the fleet's nodes and its controller, or of one agent (it keeps 1,000).\n" +
			"There is one for each change, not one for each attempt.",
		Example: `ktrdrctl events
ktrdrctl events -f --node b
ktrdrctl events --since 30m -o json`,
		Args: cobra.NoArgs,
	}
	format := output(cmd, formatText, formatJSON)
	follow := cmd.Flags().BoolP("follow", "f", false, "go on with new ones, until interrupted")
	sinceText := cmd.Flags().String("since", "", "only newer ones: a duration such as 30m, or a time such as 2026-01-31T12:00:00Z")
	nodes := s.nodeFlag(cmd)
	two := func(from time.Time) sides {
		return sides{
			fleet: func(cmd *cobra.Command, c *controller, _ []string) error {
				r := &fleetEvents{controller: c, out: cmd.OutOrStdout(), notes: cmd.ErrOrStderr(), format: *format, from: from, nodes: *nodes}
				return r.read(cmd.Context(), *follow)
			},
			agent: func(cmd *cobra.Command, c *client, _ []string) error {
				r := &eventReader{client: c, out: cmd.OutOrStdout(), notes: cmd.ErrOrStderr(), format: *format, from: from}
				if err := r.read(cmd.Context(), 0); err != nil || !*follow {
					return err
				}
				return r.follow(cmd.Context())
			},
		}
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		from, err := parseSince(time.Now(), *sinceText)
		if err != nil {
			return err
		}
		return s.run(two(from))(cmd, args)
	}
	return cmd
}

// eventReader prints events in their order, each once.
type eventReader struct {
	client     *client
	out, notes io.Writer
	format     string
	from       time.Time
	last       uint64
}

// read asks for what comes after the last event and prints it; wait is how long the agent
// may wait for one.
func (r *eventReader) read(ctx context.Context, wait time.Duration) error {
	q := url.Values{"after": {strconv.FormatUint(r.last, 10)}}
	if wait > 0 {
		q.Set("wait", wait.String())
	}
	var events []api.Event
	if err := r.client.do(ctx, request{method: http.MethodGet, path: "/v1/events", query: q, patience: wait}, &events); err != nil {
		return err
	}
	for _, e := range events {
		r.last = e.Seq
		if e.Time.Before(r.from) {
			continue
		}
		if err := r.print(e); err != nil {
			return err
		}
	}
	return nil
}

// follow goes on until ctx ends, and waits for an agent that restarts.
func (r *eventReader) follow(ctx context.Context) error {
	known := true
	for ctx.Err() == nil {
		err := r.read(ctx, longPoll)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the user ended it
		}
		_, lost := errors.AsType[*unreachableError](err)
		if err != nil && !lost {
			return err
		}
		if lost {
			if known {
				fmt.Fprintln(r.notes, "ktrdrctl: the agent does not answer; waiting for it")
			}
			select {
			case <-ctx.Done():
			case <-time.After(lostPause):
			}
		}
		known = !lost
	}
	return nil
}

func (r *eventReader) print(e api.Event) error {
	if r.format == formatJSON {
		return writeLine(r.out, e)
	}
	_, err := lipgloss.Fprintln(r.out, eventText("", e))
	return err
}

// eventText is an event in a line; node is empty of a single agent.
func eventText(node string, e api.Event) string {
	about := oneLine(e.Stack)
	if e.Object != "" {
		if about != "" {
			about += "/"
		}
		about += oneLine(e.Object)
	}
	switch {
	case about == "" && node == "":
		about = "node"
	case about == "":
		about = oneLine(node)
	case node != "":
		about = oneLine(node) + " " + about
	}
	reason := good(oneLine(string(e.Reason)))
	switch e.Level {
	case "warn":
		reason = busy(oneLine(string(e.Reason)))
	case "error":
		reason = bad(oneLine(string(e.Reason)))
	}
	return fmt.Sprintf("%s  %-5s  %s  %s  %s",
		dim(e.Time.Local().Format("2006-01-02 15:04:05")), oneLine(e.Level), reason, about, oneLine(e.Message))
}
