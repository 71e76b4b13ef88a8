package hub_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/controller/hub"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// said draws a status of up to 30 services.
func said(t *rapid.T) *ktrdrv1.NodeStatus {
	text := rapid.StringN(0, 80, -1)
	out := &ktrdrv1.NodeStatus{Node: text.Draw(t, "node"), Time: timestamppb.New(time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "time"), 0)), Ready: rapid.Bool().Draw(t, "ready")}
	for range rapid.IntRange(0, 3).Draw(t, "stacks") {
		stack := &ktrdrv1.StackStatus{Name: text.Draw(t, "stack"), Converged: rapid.Bool().Draw(t, "converged")}
		for range rapid.IntRange(0, 10).Draw(t, "services") {
			stack.Services = append(stack.Services, &ktrdrv1.ServiceStatus{Service: text.Draw(t, "service"), Id: text.Draw(t, "id"), Restarts: rapid.Int64().Draw(t, "restarts")})
		}
		out.Stacks = append(out.Stacks, stack)
	}
	out.ProtoReflect().SetUnknown(rapid.SampledFrom([][]byte{nil, {0xd2, 0x0f, 0x01, 0x78}}).Draw(t, "of a newer agent")) // field 250, "x"
	return out
}

// TestStatusIsUnpackedAsItWas: nothing is lost by packing, and what is told beside it is true.
func TestStatusIsUnpackedAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := said(t)
		packed, err := hub.Pack(proto.CloneOf(want))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			got := packed.Message()
			if !proto.Equal(got, want) {
				t.Fatalf("unpacked\n%v\nfrom\n%v", got, want)
			}
			got.Stacks, got.Node = nil, "changed by whom it was given" // must not be seen by the next one
		}
		converged := want.GetReady()
		for _, s := range want.GetStacks() {
			converged = converged && s.GetConverged()
		}
		if packed.Ready != want.GetReady() || packed.Converged != converged {
			t.Fatalf("ready %v, converged %v of\n%v", packed.Ready, packed.Converged, want)
		}
	})
	var none *hub.Status
	if none.Message() != nil {
		t.Error("no status has a message")
	}
}

// TestStatusIsSmall: a status of 20 services with ids and digests of their own is a third of what it is on the wire.
func TestStatusIsSmall(t *testing.T) {
	hex := func(r *rand.Rand) string {
		return fmt.Sprintf("%016x%016x%016x%016x", r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64())
	}
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same in each run
	stack := &ktrdrv1.StackStatus{Name: "app", Project: "app", Converged: true, Reason: "Converged"}
	for i := range 20 {
		name, digest := fmt.Sprintf("service-%02d", i), "sha256:"+hex(r)
		stack.Services = append(stack.Services, &ktrdrv1.ServiceStatus{
			Service: name, Container: "app-" + name + "-1", Id: hex(r), Image: "registry.example.org/team/" + name + ":1.2.3", WantedDigest: digest, ActualDigest: digest,
			State: "running", Health: "healthy", Converged: true, Reason: "Converged", StartedAt: timestamppb.New(time.Unix(1_800_000_000, int64(r.Uint32()%1e9))),
		})
	}
	m := &ktrdrv1.NodeStatus{Node: "n", Ready: true, Stacks: []*ktrdrv1.StackStatus{stack}}
	size := proto.Size(m)
	packed, err := hub.Pack(m)
	if err != nil {
		t.Fatal(err)
	}
	if got := packed.Size(); got > size/3 {
		t.Errorf("packed from %d to %d bytes, want a third at most", size, got)
	}
}
