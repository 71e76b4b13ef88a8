package policy_test

import (
	"os"
	"path/filepath"
	"testing"

	"ktrdr.io/fleet/pkg/agent/internal/policy"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired"
)

// TestExampleRunsTheSample: the policy that installers get allows all that the sample
// desired state wants, on every node, and not a privilege more.
func TestExampleRunsTheSample(t *testing.T) {
	const file = "../../../../packaging/policy.yaml"
	repo, err := filepath.Abs("../../../../desired-state")
	fatal(t, err)
	data, err := os.ReadFile(file)
	fatal(t, err)
	p, err := policy.Parse(file, data)
	fatal(t, err)
	nodes, err := desired.Nodes(t.Context(), repo)
	fatal(t, err)
	if len(nodes) < 4 {
		t.Fatalf("nodes %v", nodes)
	}
	for _, node := range nodes {
		d, _, err := desired.Load(t.Context(), desired.Request{Root: repo, Node: node, Revision: "r"})
		fatal(t, err)
		for i := range d.Stacks {
			for _, v := range p.Check(&d.Stacks[i], policy.Host{Registries: d.Registries}) {
				t.Errorf("node %s: %s", node, v.Message(file))
			}
		}
	}
	for name, probe := range probed() {
		spec := func(s *api.ContainerSpec) {
			s.Image = "docker.io/grafana/grafana:latest"
			probe.use(s)
		}
		if len(p.Check(stackOf(spec), policy.Host{})) == 0 {
			t.Errorf("the example allows the use of %s that the tests try", name)
		}
	}
}
