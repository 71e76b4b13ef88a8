package controllers_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

func nodeNames() []string { return []string{"a", "b", "c", "d", "e", "f"} }

// state is a fleet: core on a, workers with a pool on all others; b is the canary.
func state() map[string]string {
	files := map[string]string{
		"fleet.yaml":                "apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: home}\nspec:\n  rollout:\n    waves: [{name: core, nodes: [a]}, {name: canary, nodes: [b]}]\n",
		"stacks/core/stack.yaml":    "apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: core}\nspec: {variables: {TAG: v1}}\n",
		"stacks/core/compose.yaml":  "services:\n  backend:\n    image: example/backend:${TAG}\n    container_name: ktrdr-backend\n    ports: [\"8000:8000\"]\n",
		"stacks/workers/stack.yaml": "apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: workers}\nspec:\n  variables: {TAG: v1}\n  pools:\n    backtest: {services: [worker-1, worker-2, worker-3], default: 1}\n",
	}
	compose := "services:\n"
	for i := 1; i <= 3; i++ {
		compose += fmt.Sprintf("  worker-%d:\n    image: example/worker:${TAG}\n    container_name: worker-%d\n    ports: [\"%d:%d\"]\n", i, i, 5002+i, 5002+i)
	}
	files["stacks/workers/compose.yaml"] = compose
	for _, node := range nodeNames() {
		stack := "workers"
		if node == "a" {
			stack = "core"
		}
		files["nodes/"+node+".yaml"] = fmt.Sprintf("apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: %s}\nspec:\n  hostname: %s.example\n  stacks:\n    - name: %s\n  scale: {}\n", node, node, stack)
	}
	return files
}

// tagged is the state with another tag for both stacks.
func tagged(tag string) map[string]string {
	files := state()
	for _, stack := range []string{"core", "workers"} {
		name := "stacks/" + stack + "/stack.yaml"
		files[name] = strings.Replace(files[name], "TAG: v1", "TAG: "+tag, 1)
	}
	return files
}

// commands are what an agent answers, so that one sees which agent it was.
func commands(node string) map[string]func(*ktrdrv1.Command, func(*ktrdrv1.CommandOutput)) *ktrdrv1.CommandResult {
	return map[string]func(*ktrdrv1.Command, func(*ktrdrv1.CommandOutput)) *ktrdrv1.CommandResult{
		"sync": func(*ktrdrv1.Command, func(*ktrdrv1.CommandOutput)) *ktrdrv1.CommandResult {
			return &ktrdrv1.CommandResult{}
		},
		"hold": func(c *ktrdrv1.Command, _ func(*ktrdrv1.CommandOutput)) *ktrdrv1.CommandResult {
			return &ktrdrv1.CommandResult{Message: "held by " + c.GetBy() + ": " + c.GetHold().GetHold().GetWhy()}
		},
		"plan": func(c *ktrdrv1.Command, _ func(*ktrdrv1.CommandOutput)) *ktrdrv1.CommandResult {
			problem := &ktrdrv1.Problem{Message: node + " plans " + c.GetPlan().GetSlice().GetRevision()}
			return &ktrdrv1.CommandResult{Kind: &ktrdrv1.CommandResult_Plan{Plan: &ktrdrv1.PlanResult{Problems: []*ktrdrv1.Problem{problem}}}}
		},
		"doctor": func(_ *ktrdrv1.Command, send func(*ktrdrv1.CommandOutput)) *ktrdrv1.CommandResult {
			send(&ktrdrv1.CommandOutput{Kind: &ktrdrv1.CommandOutput_Check{Check: &ktrdrv1.Check{Name: "engine-version", Subject: node, Result: "ok"}}})
			return &ktrdrv1.CommandResult{}
		},
		"logs": func(_ *ktrdrv1.Command, send func(*ktrdrv1.CommandOutput)) *ktrdrv1.CommandResult {
			for i := range 3 {
				send(&ktrdrv1.CommandOutput{Kind: &ktrdrv1.CommandOutput_Logs{Logs: &ktrdrv1.LogBatch{
					Lines: []*ktrdrv1.LogLine{{Text: fmt.Sprintf("line %d of %s", i, node)}},
				}}})
			}
			return &ktrdrv1.CommandResult{}
		},
	}
}

// check compares what agents were given with the remote's history: no slice was wrong, none was
// older than the one before, and in the end each has the last revision's files.
func (w *world) check() {
	w.t.Helper()
	history := w.forge.history()
	head := history[len(history)-1]
	place := map[string]int{}
	for i, revision := range history {
		place[revision] = i + 1
	}
	for _, name := range slices.Sorted(maps.Keys(w.agents)) {
		a, last := w.agents[name], 0
		if faults := a.Faults(); len(faults) > 0 {
			w.t.Errorf("node %s: %v", name, faults)
		}
		for _, revision := range a.Seen() {
			if place[revision] < last || place[revision] == 0 {
				w.t.Errorf("node %s got commit %d (%.10s) after commit %d", name, place[revision], revision, last)
			}
			last = place[revision]
		}
		stack := "workers"
		if name == "a" {
			stack = "core"
		}
		for _, path := range []string{"nodes/" + name + ".yaml", "stacks/" + stack + "/stack.yaml", "stacks/" + stack + "/compose.yaml"} {
			if has, want := strings.TrimSpace(a.File(path)), w.forge.file(head, path); has != want {
				w.t.Errorf("node %s has %s\n%s\nthe head has\n%s", name, path, has, want)
			}
		}
	}
}

// settle waits until a controller says that all nodes have the remote's last commit.
func (w *world) settle(c *controller) {
	w.t.Helper()
	fleet := w.fleet(c)
	var last *ktrdrv1.Fleet
	defer func() {
		if w.t.Failed() {
			w.t.Logf("the head is %v, the rollout %v", last.GetHead(), last.GetRollout())
		}
	}()
	await(w.t, "all nodes have the last commit", func() bool {
		history := w.forge.history()
		var err error
		last, err = fleet.GetFleet(w.t.Context(), &ktrdrv1.GetFleetRequest{})
		if err != nil || last.GetHead().GetRevision() != history[len(history)-1] || last.GetRollout().GetRevision() != last.GetHead().GetRevision() || last.GetRollout().GetPhase() != "succeeded" {
			return false
		}
		for _, n := range last.GetNodes() {
			if !n.GetAccepted() || !n.GetConnected() {
				return false
			}
		}
		return true
	})
}
