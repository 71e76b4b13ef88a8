package sim_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/api"
)

// TestCalls counts what is asked of the engine: one look at a container after each call that
// changes it, and none for the events that tell of the agent's own doing.
func TestCalls(t *testing.T) {
	const services = 20
	tests := []struct {
		name string
		do   func(n *node) error
		want map[string]int
	}{
		{"cold start", func(n *node) error {
			n.loop.SetDesired(independent("r1", services))
			return nil
		}, map[string]int{
			"CreateNetwork": 1, "InspectImage": 1,
			"Create": services, "Start": services, "InspectContainer": 2 * services,
		}},
		{"one service changes", func(n *node) error {
			d := independent("r2", services)
			d.Stacks[0].Services[9] = service("s09", func(_ *api.Service, s *api.ContainerSpec) { s.Env = []string{"EDIT=1"} })
			n.loop.SetDesired(d)
			return nil
		}, map[string]int{
			"MeasureContainer": 1, "Create": 1, "Stop": 1, "Rename": 2, "Start": 1, "Remove": 1, "InspectContainer": 6,
		}},
		{"a container is removed by hand", func(n *node) error {
			return n.fake.Hand().Remove("p-s03-1")
		}, map[string]int{"Create": 1, "Start": 1, "InspectContainer": 3}},
	}
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, 1)
		n.start(&api.Desired{Revision: "r0", Node: "a"})
		defer n.stop()
		for _, test := range tests {
			time.Sleep(10 * time.Second)
			n.fake.ResetCalls()
			if err := test.do(n); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			if err := n.settle(patience, "s"); err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			calls := n.fake.Calls()
			delete(calls, "InspectNetwork") // its event may be quicker than the answer
			if diff := cmp.Diff(test.want, calls); diff != "" {
				t.Errorf("%s: calls of the engine (-want +got):\n%s", test.name, diff)
			}
		}
	})
}

// independent are services that wait for nothing.
func independent(revision string, n int) *api.Desired {
	d := desired(revision)
	d.Stacks[0].Volumes = nil
	for i := range n {
		d.Stacks[0].Services = append(d.Stacks[0].Services, service(fmt.Sprintf("s%02d", i), nil))
	}
	return d
}
