package ctl

import (
	"encoding/json"
	"fmt"
	"io"

	"charm.land/lipgloss/v2"
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

func (s *session) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [NODE [STACK]]",
		Short: "What runs, whether it is as wanted, and what to do if not",
		Long: "Shows the fleet with its nodes, their stacks and containers, or one agent; and every condition with\nits fix. " +
			"The exit code says how it is: see ktrdrctl help exit-codes.",
		Example: `ktrdrctl status
ktrdrctl status b workers
ktrdrctl status --watch
ktrdrctl status -o json | jq '.nodes[] | select(.converged | not) | .name'`,
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: s.complete(completeNode, completeStackOfNode),
	}
	format := output(cmd, formatTable, formatWide, formatJSON, formatYAML)
	watch := cmd.Flags().BoolP("watch", "w", false, "go on whenever something changes, until interrupted")
	cmd.RunE = s.run(sides{
		fleet: func(cmd *cobra.Command, c *controller, args []string) error {
			v := view{cmd.OutOrStdout(), *format}
			if *watch {
				return s.watch(cmd, newFleetFeed(c), args, v)
			}
			d, err := c.document(cmd.Context())
			return show(v, d, args, err)
		},
		agent: func(cmd *cobra.Command, c *client, args []string) error {
			v := view{cmd.OutOrStdout(), *format}
			if *watch {
				return s.watch(cmd, &agentFeed{client: c}, args, v)
			}
			st, err := c.status(cmd.Context())
			if err != nil {
				return err
			}
			return show(v, ofAgent(st), args, nil)
		},
	})
	return cmd
}

func show(v view, d *document, args []string, err error) error {
	if err == nil {
		err = d.narrow(args)
	}
	if err == nil {
		err = v.document(d)
	}
	if err != nil {
		return err
	}
	return d.verdict()
}

// statusCode is the exit code that the status of an agent stands for.
func statusCode(st *api.NodeStatus) int {
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
	return code
}

// view writes in one format.
type view struct {
	out    io.Writer
	format string
}

func (v view) line(text string) error {
	_, err := fmt.Fprintln(v.out, printable(text))
	return err
}

func (v view) document(d *document) error {
	switch v.format {
	case formatJSON, formatYAML:
		return v.data(d)
	}
	_, err := lipgloss.Fprintln(v.out, d.text(v.format == formatWide))
	return err
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
		_, err = io.WriteString(v.out, printable(string(text)))
		return err
	}
	_, err = v.out.Write(append(escaped(text), '\n'))
	return err
}
