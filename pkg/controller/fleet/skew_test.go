package fleet_test

import (
	"testing"

	"google.golang.org/grpc"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	"ktrdr.io/fleet/pkg/wire/wiretest"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestOneVersionOfSkew: agents and operators of the last and of the next release work with
// this controller.
func TestOneVersionOfSkew(t *testing.T) {
	for name, skew := range map[string]wiretest.Skew{"last release": wiretest.Released(t, "../../../proto/released.binpb"), "next release": wiretest.Next()} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			agents := map[string]*agenttest.Agent{}
			for _, node := range []string{"a", "b", "c", "gpu"} {
				keys := l.credentials(pki.Node, node)
				agents[node] = &agenttest.Agent{Name: node, Dial: func() (*grpc.ClientConn, error) { return skew.Dial(l.addr, wire.ClientTLS(keys)) }}
				l.agent(agents[node])
			}
			l.await("all are connected", func() bool { return l.connected() == 4 })
			conn, err := skew.Dial(l.addr, wire.ClientTLS(l.credentials(pki.Operator, "karl")))
			must(t, err)
			t.Cleanup(func() { _ = conn.Close() })
			operator := ktrdrv1.NewFleetServiceClient(conn)
			for _, change := range []string{"one", "two"} {
				revision := l.trees.write(t, change, state(map[string]string{"stacks/workers/compose.yaml": "services:\n  web: {image: 'example:" + change + "'}\n"}))
				l.accept(revision)
				watch, err := operator.WatchRollout(t.Context(), &ktrdrv1.WatchRolloutRequest{Revision: revision})
				must(t, err)
				for phase := ""; phase != "succeeded"; {
					r, err := watch.Recv()
					must(t, err)
					if phase = r.GetPhase(); phase == "failed" {
						t.Fatalf("%s: %s", r.GetReason(), r.GetMessage())
					}
				}
				for node, a := range agents {
					if got, _ := a.Revision(); got != revision && node != "a" {
						t.Errorf("%s has %q, want %q", node, got, revision)
					}
					if faults := a.Faults(); len(faults) > 0 {
						t.Errorf("%s: %v", node, faults)
					}
				}
			}
			seen, err := operator.GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{})
			must(t, err)
			if len(seen.GetNodes()) != 4 || seen.GetNodes()[1].GetStatus().GetNode() != "b" {
				t.Errorf("the fleet is %v", seen)
			}
		})
	}
}
