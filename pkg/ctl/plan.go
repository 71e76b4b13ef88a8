package ctl

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

func (s *session) planCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan [DIR]",
		Short: "What the nodes are about to do, or would do with a folder",
		Long: "Without DIR, shows what each node has left to do for the newest revision, or for --revision. With DIR, that\n" +
			"desired-state folder is sent to the controller, which checks it as it checks a push and asks each connected\n" +
			"node, or to the one agent: they say what they would do with it on their live engines. Nothing is changed.\n" +
			"Ends with 0 when there is nothing to do, with 2 when there is.",
		Example: `ktrdrctl plan
ktrdrctl plan --node b --stack workers
ktrdrctl plan --revision 3f2a9c1
ktrdrctl plan ./desired-state
ktrdrctl plan ./desired-state --node b
ktrdrctl scale backtest=3 node=b --dry-run`,
		Args: cobra.MaximumNArgs(1),
	}
	format := output(cmd, formatText, formatJSON)
	stack := cmd.Flags().String("stack", "", "show this stack only")
	nodes := cmd.Flags().StringSlice("node", nil, "ask these nodes only")
	revision := cmd.Flags().String("revision", "", "plan this revision; the head by default")
	s.completeFlag(cmd, "stack", completeStack)
	s.completeFlag(cmd, "node", completeNode)
	s.completeFlag(cmd, "revision", completeRevision)
	cmd.RunE = s.run(sides{
		fleet: func(cmd *cobra.Command, c *controller, args []string) error {
			choice := planChoice{nodes: *nodes, stack: *stack, revision: *revision, format: *format}
			switch {
			case len(args) > 0 && *revision != "":
				return errors.New("--revision and a folder: write one of them")
			case len(args) > 0:
				return c.planFolder(cmd, args[0], choice)
			}
			return c.planCommand(cmd, choice)
		},
		agent: func(cmd *cobra.Command, c *client, args []string) error {
			if *revision != "" || len(*nodes) > 0 {
				return errors.New("--revision and --node are for a fleet; an agent plans what it has, or a folder")
			}
			return c.planCommand(cmd, args, *stack, *format)
		},
	})
	return cmd
}

// planCommand shows the plans of one agent.
func (c *client) planCommand(cmd *cobra.Command, args []string, stack, format string) error {
	var plans []*plan.Plan
	var err error
	if len(args) == 0 {
		plans, err = c.plans(cmd.Context(), stack)
	} else {
		var archive []byte
		if archive, err = pack(cmd.Context(), args[0]); err != nil {
			return err
		}
		plans, err = c.planTree(cmd.Context(), archive)
		plans, err = onlyStack(plans, stack, err)
	}
	if err != nil {
		return err
	}
	if err := (view{cmd.OutOrStdout(), format}).plans(plans); err != nil {
		return err
	}
	return planVerdict(plans)
}

func onlyStack(plans []*plan.Plan, stack string, err error) ([]*plan.Plan, error) {
	if err != nil || stack == "" {
		return plans, err
	}
	kept := slices.DeleteFunc(plans, func(p *plan.Plan) bool { return p.Stack != stack })
	if len(kept) == 0 {
		return nil, fmt.Errorf("the folder has no stack %q for this node", stack)
	}
	return kept, nil
}

func planVerdict(plans []*plan.Plan) error {
	blocked := false
	for _, p := range plans {
		if slices.ContainsFunc(p.Ops, func(op plan.Op) bool { return !op.Background }) {
			return exitCode(exitPending)
		}
		blocked = blocked || slices.ContainsFunc(p.Status.Conditions, isBlocked)
	}
	if blocked {
		return exitCode(exitBlocked)
	}
	return nil
}

func isBlocked(c api.Condition) bool { return c.Status && c.Type == api.ConditionBlocked }

func (v view) plans(plans []*plan.Plan) error {
	if slices.Contains(plans, nil) {
		return errors.New("the agent's answer has an empty plan: is it of another version?")
	}
	if v.format == formatJSON {
		if plans == nil {
			plans = []*plan.Plan{}
		}
		return v.data(plans)
	}
	if len(plans) == 0 {
		return v.line("no stacks")
	}
	for _, p := range plans {
		if err := v.line(planText(p)); err != nil {
			return err
		}
	}
	return nil
}

// planText is the plan as the planner prints it, with what stands in its way.
func planText(p *plan.Plan) string {
	var out strings.Builder
	out.WriteString(strings.TrimRight(p.String(), "\n"))
	if p.Held {
		fmt.Fprintf(&out, "\n     on hold: nothing of this runs before ktrdrctl resume %s", p.Stack)
	}
	for _, c := range p.Status.Conditions {
		fmt.Fprintf(&out, "\n     %s %s %s: %s", c.Type, c.Reason, c.Object, c.Message)
		if fix := fixOf(c.Reason); fix != "" {
			fmt.Fprintf(&out, "\n         fix: %s", fix)
		}
	}
	return out.String()
}
