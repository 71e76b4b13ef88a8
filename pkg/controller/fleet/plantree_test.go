package fleet_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	"ktrdr.io/fleet/pkg/controller/fleet"
	"ktrdr.io/fleet/pkg/controller/repo"
	"ktrdr.io/fleet/pkg/controller/store"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// stubRepo is what calls about uploads need of a repository, on the lab's trees.
type stubRepo struct {
	fleet.Repository
	lab *lab
}

func (s stubRepo) Head(ctx context.Context) (repo.Commit, error) {
	head, err := s.lab.store.Head(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return repo.Commit{}, repo.ErrEmpty
	}
	return repo.Commit{ID: head.Revision}, err
}

func (stubRepo) DiffFolder(_ context.Context, base, dir string) (repo.Diff, error) {
	_, err := os.Stat(dir)
	return repo.Diff{Text: "from " + base}, err
}

// archive packs files as operators do.
func archive(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		must(t, w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[name]))}))
		_, err := w.Write([]byte(files[name]))
		must(t, err)
	}
	must(t, w.Close())
	return out.Bytes()
}

// planTree uploads in two parts.
func (l *lab) planTree(ctx context.Context, files map[string]string, nodes ...string) ktrdrv1.FleetService_PlanTreeClient {
	l.t.Helper()
	stream, err := l.fleet().PlanTree(ctx)
	must(l.t, err)
	text := archive(l.t, files)
	must(l.t, stream.Send(&ktrdrv1.PlanTreeRequest{Nodes: nodes, Content: text[:700]}))
	if err := stream.Send(&ktrdrv1.PlanTreeRequest{Content: text[700:]}); err != nil && !errors.Is(err, io.EOF) {
		l.t.Fatal(err)
	}
	must(l.t, stream.CloseSend())
	return stream
}

func answers(stream ktrdrv1.FleetService_PlanTreeClient) (checked *ktrdrv1.ValidateResponse, plans map[string]*ktrdrv1.NodePlan, err error) {
	plans = map[string]*ktrdrv1.NodePlan{}
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return checked, plans, nil
		}
		if err != nil {
			return checked, plans, err
		}
		if c := answer.GetChecked(); c != nil {
			checked = c
		}
		if p := answer.GetPlan(); p != nil {
			plans[p.GetNode()] = p
		}
	}
}

// planner answers a plan with the files that the slice has.
func planner(c *ktrdrv1.Command, _ func(*ktrdrv1.CommandOutput)) *ktrdrv1.CommandResult {
	slice := c.GetPlan().GetSlice()
	if !regexp.MustCompile("^[0-9a-f]{40}$").MatchString(slice.GetRevision()) { // as an agent
		return &ktrdrv1.CommandResult{Reason: "InvalidSource", Message: slice.GetRevision() + " is no commit"}
	}
	plan := &ktrdrv1.StackPlan{Stack: "x", Revision: slice.GetRevision()}
	for _, f := range slice.GetFiles() {
		plan.Operations = append(plan.Operations, &ktrdrv1.Operation{Object: f.GetPath()})
	}
	for _, part := range slice.GetContents() {
		plan.Operations = append(plan.Operations, &ktrdrv1.Operation{Cause: string(part.GetContent())})
	}
	return &ktrdrv1.CommandResult{Kind: &ktrdrv1.CommandResult_Plan{Plan: &ktrdrv1.PlanResult{Plans: []*ktrdrv1.StackPlan{plan}}}}
}

// TestPlanTree: every node gets its own part of the folder to plan and keeps what it has; who
// can't plan is named with the reason.
func TestPlanTree(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	l := newLab(t)
	first := l.trees.write(t, "first", state(nil))
	l.accept(first)
	can := map[string]func(*ktrdrv1.Command, func(*ktrdrv1.CommandOutput)) *ktrdrv1.CommandResult{"plan": planner}
	agents := map[string]*agenttest.Agent{
		"a": {Name: "a", Commands: can}, "b": {Name: "b", Commands: can}, "c": {Name: "c"}, "extra": {Name: "extra", Commands: can},
	}
	for _, a := range agents {
		l.agent(a)
	}
	l.await("all are connected", func() bool { return l.connected() == 4 })
	l.await("all have the first", func() bool {
		for name, a := range agents {
			if has, _ := a.Revision(); has != first && name != "extra" {
				return false
			}
		}
		return true
	})
	files := state(map[string]string{"stacks/workers/compose.yaml": "services:\n  web: {image: 'example:planned'}\n"})
	checked, plans, err := answers(l.planTree(t.Context(), files))
	must(t, err)
	if checked.GetDiff() != "from "+first || !slices.Equal(checked.GetNodes(), []string{"b", "c", "gpu"}) || len(checked.GetProblems()) > 0 {
		t.Errorf("checked: %v", checked)
	}
	for node, reason := range map[string]string{"a": "", "b": "", "c": "CommandUnsupported", "gpu": "Unreachable", "extra": "NotInDesiredState"} {
		if got := plans[node].GetCondition().GetReason(); plans[node] == nil || got != reason {
			t.Errorf("node %s: reason %q, want %q", node, got, reason)
		}
	}
	if why := plans["c"].GetCondition().GetMessage(); !strings.Contains(why, "update the agent") {
		t.Errorf("an older agent: %s", why)
	}
	got := plans["b"].GetPlan().GetPlans()[0].String()
	if !strings.Contains(got, "example:planned") || !strings.Contains(got, "nodes/b.yaml") || strings.Contains(got, "nodes/a.yaml") || !strings.Contains(got, "upload-") {
		t.Errorf("b was given %s", got)
	}
	for name, a := range agents {
		if has, _ := a.Revision(); has != first && name != "extra" {
			t.Errorf("%s has %q after the plan", name, has)
		}
	}
	_, plans, err = answers(l.planTree(t.Context(), files, "gpu", "b", "b"))
	must(t, err)
	if len(plans) != 2 || plans["b"].GetPlan() == nil {
		t.Errorf("of two nodes: %v", plans)
	}
	if _, _, err = answers(l.planTree(t.Context(), files, "nope")); status.Code(err) != codes.NotFound {
		t.Errorf("of a node that is not there: %v", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestPlanTreeRefuses: nobody is asked to plan what can't be pushed.
func TestPlanTreeRefuses(t *testing.T) {
	l := newLab(t)
	asked := false
	l.agent(&agenttest.Agent{Name: "b", Commands: map[string]func(*ktrdrv1.Command, func(*ktrdrv1.CommandOutput)) *ktrdrv1.CommandResult{
		"plan": func(*ktrdrv1.Command, func(*ktrdrv1.CommandOutput)) *ktrdrv1.CommandResult {
			asked = true
			return &ktrdrv1.CommandResult{}
		},
	}})
	l.await("b is connected", func() bool { return l.connected() == 1 })
	checked, plans, err := answers(l.planTree(t.Context(), state(map[string]string{"stacks/workers/compose.yaml": "services: {web: {image: [1]}}\n"})))
	must(t, err)
	if len(checked.GetProblems()) == 0 || checked.GetProblems()[0].GetFile() != "stacks/workers/compose.yaml" || len(plans) > 0 || asked {
		t.Errorf("checked %v, plans %v, asked %t", checked, plans, asked)
	}
	for name, files := range map[string]map[string]string{
		"outside": {"../x": strings.Repeat("x", 700)}, "git's own": {"stacks/.GIT/config": strings.Repeat("x", 700)},
	} {
		if _, _, err := answers(l.planTree(t.Context(), files)); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPlanTreeEnds: who goes away frees its place, and the node is told to give up.
func TestPlanTreeEnds(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	l := newLab(t)
	node := l.connect(t.Context(), "b", &ktrdrv1.Hello{Version: "test", Commands: []string{"plan"}})
	l.await("b is connected", func() bool { return l.connected() == 1 })
	files := state(nil)
	for range 5 { // more than may be planned at the same time
		ctx, cancel := context.WithCancel(t.Context())
		stream := l.planTree(ctx, files, "b")
		command := receive(t, node, (*ktrdrv1.ControllerMessage).GetCommand, func(c *ktrdrv1.Command) bool { return c.GetPlan() != nil })
		cancel()
		if _, _, err := answers(stream); status.Code(err) != codes.Canceled {
			t.Errorf("after the caller went away: %v", err)
		}
		receive(t, node, (*ktrdrv1.ControllerMessage).GetCancel, func(c *ktrdrv1.CancelCommand) bool { return c.GetId() == command.GetId() })
	}
	l.await("nothing is left behind", func() bool { left, err := os.ReadDir(temp); return err == nil && len(left) == 0 })

	var streams []ktrdrv1.FleetService_PlanTreeClient
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 4 {
		streams = append(streams, l.planTree(ctx, files, "b"))
		receive(t, node, (*ktrdrv1.ControllerMessage).GetCommand, func(c *ktrdrv1.Command) bool { return c.GetPlan() != nil })
	}
	// What nodes plan takes no place of what is uploaded: a fifth one is checked, and told to come again.
	checked, _, err := answers(l.planTree(ctx, files, "b"))
	if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "try again") || len(checked.GetNodes()) == 0 {
		t.Errorf("a fifth one: %v, checked: %v", err, checked)
	}
	validate, err := l.fleet().Validate(ctx)
	must(t, err)
	must(t, validate.Send(&ktrdrv1.TreeChunk{Content: archive(t, files)}))
	if got, err := validate.CloseAndRecv(); err != nil || len(got.GetProblems()) > 0 {
		t.Errorf("validate while nodes plan: %v %v", got, err)
	}
	cancel()
	for _, stream := range streams {
		_, _, _ = answers(stream)
	}
	l.await("nothing is left behind", func() bool { left, err := os.ReadDir(temp); return err == nil && len(left) == 0 })
}

// TestPoolsOfNodes: the fleet has them with the sizes that the head gives them.
func TestPoolsOfNodes(t *testing.T) {
	l := newLab(t)
	l.accept(l.trees.write(t, "first", state(map[string]string{
		"stacks/workers/stack.yaml":   "apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: workers}\nspec:\n  pools: {one: {services: [web], default: 1}, two: {services: [two], default: 1}}\n",
		"stacks/workers/compose.yaml": "services:\n  web: {image: example:1}\n  two: {image: example:1}\n",
		"nodes/b.yaml":                "apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: b}\nspec:\n  hostname: b.example\n  scale: {two: 0}\n  stacks: [{name: workers}]\n",
	})))
	var got *ktrdrv1.Fleet
	l.await("the head is there", func() bool {
		var err error
		got, err = l.fleet().GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{Nodes: []string{"a", "b", "c"}})
		return err == nil && len(got.GetNodes()) == 3
	})
	sizes := func(node *ktrdrv1.Node) (out []string) {
		for _, p := range node.GetPools() {
			out = append(out, fmt.Sprintf("%s %s=%d", p.GetNode(), p.GetPool(), p.GetCount()))
		}
		return out
	}
	for i, want := range [][]string{nil, {"b one=1", "b two=0"}, {"c one=1", "c two=1"}} {
		if got := sizes(got.GetNodes()[i]); !slices.Equal(got, want) {
			t.Errorf("pools %v, want %v", got, want)
		}
	}
}
