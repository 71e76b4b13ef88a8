package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/plans"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// nodePlan is what one node has to do.
type nodePlan struct {
	Node     string       `json:"node"`
	Plans    []*plan.Plan `json:"plans"`
	Problems []problemDoc `json:"problems,omitzero"`
	// Condition says why there is no plan.
	Condition *api.Condition `json:"condition,omitzero"`
}

// problemDoc is a mistake in a state, with its place.
type problemDoc struct {
	File    string `json:"file,omitzero"`
	Line    int32  `json:"line,omitzero"`
	Column  int32  `json:"column,omitzero"`
	Path    string `json:"path,omitzero"`
	Message string `json:"message"`
	text    string
}

func toProblem(p *ktrdrv1.Problem) problemDoc {
	return problemDoc{p.GetFile(), p.GetLine(), p.GetColumn(), p.GetPath(), p.GetMessage(), problemText(p)}
}

// planChoice is what is planned and shown.
type planChoice struct {
	nodes                   []string
	stack, revision, format string
}

func (c *controller) planCommand(cmd *cobra.Command, choice planChoice) error {
	req := &ktrdrv1.PlanFleetRequest{Nodes: choice.nodes, What: &ktrdrv1.PlanFleetRequest_Revision{Revision: choice.revision}}
	found, err := c.planFleet(cmd.Context(), req)
	if err != nil {
		return withProblems(err)
	}
	return choice.show(cmd, found)
}

// show prints plans, of one stack when that was chosen, and says what they come to.
func (choice planChoice) show(cmd *cobra.Command, found []nodePlan) error {
	if choice.stack != "" {
		for i := range found {
			found[i].Plans = slices.DeleteFunc(found[i].Plans, func(p *plan.Plan) bool { return p.Stack != choice.stack })
		}
		found = slices.DeleteFunc(found, func(n nodePlan) bool { return len(n.Plans) == 0 && n.Condition == nil })
		if len(found) == 0 {
			return fmt.Errorf("no node has a stack %q", choice.stack)
		}
	}
	slices.SortFunc(found, func(a, b nodePlan) int { return cmp.Compare(a.Node, b.Node) })
	if err := (view{cmd.OutOrStdout(), choice.format}).fleetPlans(found); err != nil {
		return err
	}
	return fleetPlanVerdict(found)
}

// planFleet asks all nodes and returns their plans by name.
func (c *controller) planFleet(ctx context.Context, req *ktrdrv1.PlanFleetRequest) ([]nodePlan, error) {
	limited, cancel := context.WithTimeout(ctx, c.timeout+uploadPatience)
	defer cancel()
	stream, err := c.Fleet.PlanFleet(limited, req)
	if err != nil {
		return nil, c.Explain(ctx, err)
	}
	found := []nodePlan{}
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, c.Explain(ctx, err)
		}
		found = append(found, toNodePlan(answer))
	}
	slices.SortFunc(found, func(a, b nodePlan) int { return cmp.Compare(a.Node, b.Node) })
	return found, nil
}

func toNodePlan(answer *ktrdrv1.NodePlan) nodePlan {
	n := nodePlan{
		Node: answer.GetNode(), Plans: []*plan.Plan{}, Problems: each(answer.GetPlan().GetProblems(), toProblem),
	}
	for _, p := range answer.GetPlan().GetPlans() {
		n.Plans = append(n.Plans, plans.FromProto(p))
	}
	if answer.GetCondition() != nil {
		condition := wire.ConditionFromProto(answer.GetCondition())
		n.Condition = &condition
	}
	return n
}

func fleetPlanVerdict(found []nodePlan) error {
	code := exitOK
	if len(found) == 0 {
		code = exitPending // nobody could say
	}
	for i := range found {
		n := &found[i]
		switch {
		case len(n.Problems) > 0:
			return exitCode(exitBlocked)
		case n.Condition != nil:
			code = max(code, exitPending)
		}
		if err, ok := errors.AsType[exitCode](planVerdict(n.Plans)); ok {
			code = max(code, int(err))
		}
	}
	if code == exitOK {
		return nil
	}
	return exitCode(code)
}

func (v view) fleetPlans(found []nodePlan) error {
	if v.format == formatJSON {
		return v.data(found)
	}
	if len(found) == 0 {
		return v.line("no node is connected")
	}
	for i := range found {
		if _, err := lipgloss.Fprintln(v.out, found[i].text()); err != nil {
			return err
		}
	}
	return nil
}

func (n *nodePlan) text() string {
	lines := []string{bold("node " + oneLine(n.Node))}
	if c := n.Condition; c != nil {
		lines = append(lines, "  "+busy(oneLine(string(c.Reason)))+"  "+oneLine(c.Message))
	}
	for _, p := range n.Problems {
		lines = append(lines, "  "+bad("problem: ")+oneLine(p.text))
	}
	if len(n.Plans) == 0 && len(lines) == 1 {
		lines = append(lines, "  no stacks")
	}
	for _, p := range n.Plans {
		for line := range strings.Lines(printable(planText(p))) {
			lines = append(lines, "  "+strings.TrimRight(line, "\n"))
		}
	}
	return strings.Join(lines, "\n")
}
