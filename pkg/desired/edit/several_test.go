package edit_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/desired/edit"
)

// TestScaleSeveral: pools and nodes in one change. On node c there is room for one only when
// the other has gone.
func TestScaleSeveral(t *testing.T) {
	root := sample(t)
	got, err := edit.SetScale(root,
		edit.Scale{Node: "c", Pool: "backtest", Size: 0}, edit.Scale{Node: "c", Pool: "training", Size: 1}, edit.Scale{Node: "b", Pool: "backtest", Size: 3})
	if err != nil {
		t.Fatal(err)
	}
	var summaries []string
	for _, e := range got.Edits {
		summaries = append(summaries, e.Path+": "+e.Summary)
	}
	if len(got.Edits) != 2 || !strings.HasPrefix(summaries[0], "nodes/b.yaml: scale backtest=3") || !strings.Contains(summaries[1], "backtest=0") || !strings.Contains(summaries[1], "training=1") {
		t.Errorf("edits %q", summaries)
	}
	apply(t, root, got.Edits)
	if _, err := desired.Validate(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	again, err := edit.SetScale(root, edit.Scale{Node: "b", Pool: "backtest", Size: 3}, edit.Scale{Node: "c", Pool: "training", Size: 1})
	if err != nil || len(again.Edits) > 0 {
		t.Errorf("the same again: %v, %v", again.Edits, err)
	}
}

// TestScaleSeveralIsAllOrNothing: one that can't be made leaves no edit of the others.
func TestScaleSeveralIsAllOrNothing(t *testing.T) {
	got, err := edit.SetScale(sample(t), edit.Scale{Node: "b", Pool: "backtest", Size: 1}, edit.Scale{Node: "b", Pool: "none", Size: 1})
	if err == nil || len(got.Edits) > 0 || !strings.Contains(err.Error(), "no stack of node b has pool none: it has") {
		t.Errorf("edits %v, error %v", got.Edits, err)
	}
}

func TestDeployOnSeveralNodes(t *testing.T) {
	root := sample(t)
	got, err := edit.SetTag(root, edit.Target{Stack: "workers", Nodes: []string{"b", "c"}}, tag)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, e := range got.Edits {
		paths = append(paths, e.Path)
	}
	if diff := cmp.Diff([]string{"nodes/b.yaml", "nodes/c.yaml"}, paths); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(got.Services, func() []string {
		one, err := edit.SetTag(root, edit.Target{Stack: "workers", Nodes: []string{"b"}}, tag)
		if err != nil {
			t.Fatal(err)
		}
		return one.Services
	}()); diff != "" {
		t.Errorf("services of two nodes and of one: %s", diff)
	}
	before := images(t, root, "gpu")
	apply(t, root, got.Edits)
	for _, node := range []string{"b", "c"} {
		if image := images(t, root, node)["backtest-worker-1"]; !strings.HasSuffix(image, ":"+tag) {
			t.Errorf("node %s runs %s", node, image)
		}
	}
	if diff := cmp.Diff(before, images(t, root, "gpu")); diff != "" {
		t.Errorf("node gpu, which nobody named: %s", diff)
	}
	if _, err := edit.SetTag(root, edit.Target{Stack: "workers", Nodes: []string{"b", "a"}}, "other"); err == nil || !strings.Contains(err.Error(), "node a does not run stack workers") {
		t.Errorf("a node without the stack: %v", err)
	}
}
