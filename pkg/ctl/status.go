package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/api"
)

// Formats of output.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatText  = "text"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

// watchInterval is the time between two looks of status --watch.
const watchInterval = time.Second

func (s *session) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "What runs, whether it is as wanted, and what to do if not",
		Long:  "Shows the node, its stacks and containers, and every condition with its fix.\nThe exit code says how it is: see ktrdrctl help exit-codes.",
		Args:  cobra.NoArgs,
	}
	format := output(cmd, formatTable, formatWide, formatJSON, formatYAML)
	watch := cmd.Flags().BoolP("watch", "w", false, "show it again whenever it changes, until interrupted")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := s.client()
		if err != nil {
			return err
		}
		if *watch {
			return watchStatus(cmd.Context(), c, view{cmd.OutOrStdout(), *format})
		}
		st, err := c.status(cmd.Context())
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

// verdict is the exit code that a status stands for.
func verdict(st *api.NodeStatus) error {
	code := exitOK
	note := func(conditions []api.Condition, degraded int) {
		for _, c := range conditions {
			if !c.Status || c.Type == api.ConditionWarning {
				continue
			}
			if c.Type == api.ConditionBlocked {
				code = max(code, exitBlocked)
			} else {
				code = max(code, degraded)
			}
		}
	}
	if !st.Ready || !st.Engine.Reachable {
		code = exitPending
	}
	// What is wrong with the node makes what is said about its stacks doubtful. What is
	// degraded in a stack that converged is a warning.
	note(st.Conditions, exitPending)
	for i := range st.Stacks {
		if !st.Stacks[i].Converged {
			code = max(code, exitPending)
		}
		note(st.Stacks[i].Conditions, exitOK)
	}
	if code == exitOK {
		return nil
	}
	return exitCode(code)
}

// watchStatus shows the status whenever it changes. An agent that restarts meanwhile is
// waited for. The end of ctx is a clean end.
func watchStatus(ctx context.Context, c *client, v view) error {
	last := ""
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		st, err := c.status(ctx)
		var lost *unreachableError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &lost) && last != "":
			err = v.once(&last, "unreachable", func() error { return v.line(err.Error()) })
		case err == nil:
			err = v.once(&last, fingerprint(st), func() error { return v.status(st) })
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// fingerprint is the status without what changes by the passing of time.
func fingerprint(st *api.NodeStatus) string {
	still := *st
	still.Time, still.SourceCheckAt = time.Time{}, time.Time{}
	text, err := json.Marshal(still)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// view writes in one format.
type view struct {
	out    io.Writer
	format string
}

// once shows something unless the same was shown last.
func (v view) once(last *string, key string, show func() error) error {
	if *last == key {
		return nil
	}
	if *last != "" {
		if err := v.line(""); err != nil {
			return err
		}
	}
	*last = key
	return show()
}

func (v view) line(text string) error {
	_, err := fmt.Fprintln(v.out, printable(text))
	return err
}

func (v view) status(st *api.NodeStatus) error {
	switch v.format {
	case formatJSON, formatYAML:
		return v.data(st)
	}
	return v.statusTable(st)
}

// data writes any value as JSON or YAML, with the names of the HTTP interface.
func (v view) data(value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encode output: %w", err)
	}
	if v.format == formatYAML {
		if text, err = yaml.JSONToYAML(text); err != nil {
			return fmt.Errorf("encode output: %w", err)
		}
		_, err = v.out.Write(text)
		return err
	}
	_, err = v.out.Write(slices.Concat(text, []byte("\n")))
	return err
}
