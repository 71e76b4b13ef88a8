package uplink_test

import (
	"context"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"

	"ktrdr.io/fleet/pkg/agent/uplink/uplinktest"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestControllerThatWasToldOf: the configuration names one controller, which tells of another and
// dies. The agent goes over to that one with what it has, and back when that one dies too.
func TestControllerThatWasToldOf(t *testing.T) {
	t.Parallel()
	first, second := uplinktest.Start(t), uplinktest.Start(t)
	first.SetFault(func(_ context.Context, _ int, m *ktrdrv1.ControllerMessage) error {
		if w := m.GetWelcome(); w != nil {
			w.Endpoints = []string{second.Addr}
		}
		return nil
	})
	// Two controllers of one fleet have one authority; these have not, so the node has two identities.
	one := dialer(first.Enroll(t, filepath.Join(t.TempDir(), "one"), "b"))
	two := dialer(second.Enroll(t, filepath.Join(t.TempDir(), "two"), "b"))
	slice := first.SliceOf(map[string]string{"fleet.yaml": "1"})
	first.Publish(slice)
	n := run(t, first, options{endpoints: []string{first.Addr}, dial: func(endpoint string) (*grpc.ClientConn, error) {
		if endpoint == second.Addr {
			return two(endpoint)
		}
		return one(endpoint)
	}})
	first.AwaitResult(t, slice.GetDigest(), true)
	first.Down()
	second.AwaitConnected(t, true)
	if h := second.Hellos(); h[0].GetSliceDigest() != slice.GetDigest() {
		t.Errorf("the second controller is told of the slice %q, want the one in force", h[0].GetSliceDigest())
	}
	await(t, "the state", func() bool { st := n.link.State(); return st.Connected && st.Endpoint == second.Addr })
	first.Up(t)
	second.Down()
	await(t, "the way back", func() bool { st := n.link.State(); return st.Connected && st.Endpoint == first.Addr })
}
