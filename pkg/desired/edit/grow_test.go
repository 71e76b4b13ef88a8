package edit_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/desired/edit"
)

// templates is a node whose stack has two pools that count on from the same port.
func templates(t *testing.T, pools string) string {
	t.Helper()
	root := t.TempDir()
	put(t, root, "fleet.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: f}\nspec: {}\n")
	put(t, root, "nodes/b.yaml", nodeHead+"spec:\n  stacks: [{name: workers}]\n  scale: {backtest: 3, training: 1}\n")
	put(t, root, "stacks/workers/stack.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: workers}\nspec:\n  pools:\n"+pools)
	put(t, root, "stacks/workers/compose.yaml", `
services:
  backtest-worker: {image: "w:1", profiles: [pool], ports: ["${PORT}:${PORT}"]}
  training-worker: {image: "w:1", profiles: [pool], ports: ["${PORT}:${PORT}"]}
`)
	return root
}

const flowPools = `    backtest: {template: backtest-worker, ports: [5003, 5004, 5007], nextPort: 5009}
    training: {template: training-worker, ports: [5005, 5006, 5008], nextPort: 5009} # the same range
`

// scaled applies a change of scale and returns the ports of the node's containers by name.
func scaled(t *testing.T, root, pool string, size int) map[string]string {
	t.Helper()
	got, err := edit.SetScale(root, edit.Scale{Node: "b", Pool: pool, Size: size})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, root, got.Edits)
	d, _, err := desired.Load(t.Context(), desired.Request{Root: root, Node: "b", Revision: "r"})
	if err != nil {
		t.Fatal(err)
	}
	ports := map[string]string{}
	for i := range d.Stacks[0].Services {
		for _, r := range d.Stacks[0].Services[i].Replicas {
			ports[r.Name] = r.Spec.Ports[0].Published
		}
	}
	return ports
}

// TestScaleTakesTheNextFreePort: slots beyond the list get the next port that no pool has,
// and keep it whatever comes later.
func TestScaleTakesTheNextFreePort(t *testing.T) {
	root := templates(t, flowPools)
	scaled(t, root, "training", 4)
	scaled(t, root, "backtest", 5)
	got := scaled(t, root, "training", 5)
	want := map[string]string{
		"backtest-worker-1": "5003", "backtest-worker-2": "5004", "backtest-worker-3": "5007", "backtest-worker-4": "5010", "backtest-worker-5": "5011",
		"training-worker-1": "5005", "training-worker-2": "5006", "training-worker-3": "5008", "training-worker-4": "5009", "training-worker-5": "5012",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Down and up again: the same slots have the same ports.
	scaled(t, root, "backtest", 1)
	if diff := cmp.Diff(want, scaled(t, root, "backtest", 5)); diff != "" {
		t.Error(diff)
	}
}

func TestScaleKeepsTheStyleOfPorts(t *testing.T) {
	root := templates(t, "    backtest:\n      template: backtest-worker\n      ports:\n      - 5003\n      - 5004 # second\n\n      # from here on\n      nextPort: 5009\n")
	got, err := edit.SetScale(root, edit.Scale{Node: "b", Pool: "backtest", Size: 4})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"+      - 5009\n", "+      - 5010\n"}, changed(got.Edits[1])); diff != "" {
		t.Error(diff)
	}
	if s := got.Edits[1].Summary; !strings.Contains(s, "port 5009 for slot 3") {
		t.Errorf("summary %q", s)
	}
}

// TestScaleBeyondThePool: what says how far a pool goes is not overruled.
func TestScaleBeyondThePool(t *testing.T) {
	for name, pool := range map[string]string{
		"max":     "    backtest: {template: backtest-worker, ports: [5003, 5004, 5007], nextPort: 5009, max: 3}\n",
		"no next": "    backtest: {template: backtest-worker, ports: [5003, 5004, 5007]}\n",
	} {
		root := templates(t, pool)
		got, err := edit.SetScale(root, edit.Scale{Node: "b", Pool: "backtest", Size: 4})
		if err != nil || len(got.Edits) != 1 {
			t.Fatalf("%s: %v %+v", name, err, got.Edits)
		}
		apply(t, root, got.Edits)
		_, _, err = desired.Load(t.Context(), desired.Request{Root: root, Node: "b", Revision: "r"})
		if _, ok := errors.AsType[*desired.Error](err); !ok || !strings.Contains(err.Error(), "at most 3 slots") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
