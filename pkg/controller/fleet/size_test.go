package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// largeFleet and the four nodes of the lab are the 1,000 that a fleet may have; each has largeNode
// services.
const largeFleet, largeNode = 996, 20

// largeStatus is a node all of whose services have trouble, as the store keeps it.
func largeStatus(t *testing.T, node string) []byte {
	t.Helper()
	said := strings.Repeat("the engine says something that is long. ", 8)
	stack := api.StackStatus{Name: "workers", Project: "workers", Reason: api.ReasonUnhealthy, Message: said}
	for i := range largeNode {
		name := fmt.Sprintf("worker-%d", i)
		stack.Services = append(stack.Services, api.ServiceStatus{
			Service: name, Container: name, ID: strings.Repeat("0", 64), Image: "ghcr.io/k/worker:sha-a1", Wanted: "sha256:" + strings.Repeat("0", 64),
			Actual: "sha256:" + strings.Repeat("1", 64), State: "running", Reason: api.ReasonUnhealthy, Message: said,
		})
		stack.Conditions = append(stack.Conditions, api.Condition{Type: api.ConditionDegraded, Status: true, Reason: api.ReasonUnhealthy, Object: name, Message: said})
	}
	body, err := proto.Marshal(wire.NodeStatusToProto(api.NodeStatus{Node: node, Version: "test", Ready: true, Stacks: []api.StackStatus{stack}}))
	must(t, err)
	return append([]byte(`{"Version":"test","StatusAt":"2026-01-02T03:04:05Z"}`+"\n"), body...)
}

// largeAnswer is what a node at another controller says: as much as it may.
func largeAnswer(_ context.Context, _ string, r hub.Request) (*ktrdrv1.CommandResult, error) {
	out := &ktrdrv1.CommandResult{Reason: "Failed", Message: strings.Repeat("m", 8<<10)}
	if r.Command.GetSecrets() != nil {
		answer := &ktrdrv1.SecretsStatus{Node: r.Node}
		for i := range 3 * largeNode {
			answer.References = append(answer.References, &ktrdrv1.ReferenceStatus{Reference: fmt.Sprintf("op://vault/%s/%d/%s", r.Node, i, strings.Repeat("f", 60)), Message: strings.Repeat("m", 200)})
		}
		out = &ktrdrv1.CommandResult{Kind: &ktrdrv1.CommandResult_Secrets{Secrets: answer}}
	}
	return out, nil
}

// newLargeLab is a controller that knows 1,000 nodes at another one.
func newLargeLab(t *testing.T) (*lab, []string) {
	t.Helper()
	l := newLab(t, func(c *hub.Config) { c.Forward = largeAnswer })
	other, err := l.store.OpenSession(t.Context(), store.Controller{ID: "c2", StartedAt: time.Now()})
	must(t, err)
	t.Cleanup(func() { must(t, other.Close()) })
	files := state(nil)
	var names []string
	for i := range largeFleet {
		name := fmt.Sprintf("node-%04d", i)
		names = append(names, name)
		files["nodes/"+name+".yaml"] = fmt.Sprintf("apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: %s}\nspec:\n  hostname: %s.example\n  stacks: [{name: workers}]\n", name, name)
		must(t, other.Connect(t.Context(), store.Connection{Node: name, Since: time.Now(), Address: "192.0.2.1:1234"}))
		must(t, other.PutStatus(t.Context(), store.Status{Node: name, At: time.Now(), Data: largeStatus(t, name)}))
	}
	revision := l.trees.write(t, "large", files)
	l.accept(revision)
	l.await("all are known, and the rollout has begun", func() bool {
		nodes := 0
		for _, n := range l.hub.News(0).Nodes {
			if n.Status != nil && n.Connected {
				nodes++
			}
		}
		_, begun := l.ledger.Newest()
		return nodes == largeFleet && begun
	})
	return l, names
}

// TestMessagesAreBounded: whatever a fleet of 1,000 nodes with 20 services says, every reply fits
// into a message, and nothing of it is lost.
func TestMessagesAreBounded(t *testing.T) {
	l, names := newLargeLab(t)
	client := l.fleet()
	bounded := func(t *testing.T, m proto.Message, err error) {
		t.Helper()
		must(t, err)
		t.Logf("%s: %d KiB", m.ProtoReflect().Descriptor().Name(), proto.Size(m)>>10)
		if size := proto.Size(m); size > wire.MaxMessage {
			t.Errorf("%d bytes", size)
		}
	}
	t.Run("GetFleet", func(t *testing.T) {
		if _, err := client.GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{}); status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "name some") {
			t.Errorf("the whole fleet: %v", err)
		}
		part, err := client.GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{Nodes: names[:100]})
		bounded(t, part, err)
	})
	t.Run("WatchFleet", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream, err := client.WatchFleet(ctx, &ktrdrv1.GetFleetRequest{})
		must(t, err)
		seen := map[string]bool{}
		for parts := 1; ; parts++ {
			u, err := stream.Recv()
			bounded(t, u, err)
			if (u.GetFleet() != nil) != (parts == 1) {
				t.Fatalf("part %d has the fleet: %v", parts, u.GetFleet() != nil)
			}
			for _, n := range append(u.GetFleet().GetNodes(), u.GetNodes()...) {
				if seen[n.GetName()] || n.GetStatus() == nil && strings.HasPrefix(n.GetName(), "node-") {
					t.Errorf("%s comes twice, or without its status", n.GetName())
				}
				seen[n.GetName()] = true
			}
			if !u.GetMore() {
				break
			}
		}
		if len(seen) != largeFleet+4 {
			t.Errorf("%d nodes", len(seen))
		}
	})
	t.Run("WatchRollout", func(t *testing.T) {
		stream, err := client.WatchRollout(t.Context(), &ktrdrv1.WatchRolloutRequest{})
		must(t, err)
		r, err := stream.Recv()
		bounded(t, r, err)
	})
	t.Run("ListNodes", func(t *testing.T) {
		r, err := ktrdrv1.NewNodeServiceClient(l.operator()).ListNodes(t.Context(), &ktrdrv1.ListNodesRequest{})
		bounded(t, r, err)
		if len(r.GetNodes()) != largeFleet+4 {
			t.Errorf("%d nodes", len(r.GetNodes()))
		}
	})
	t.Run("Sync", func(t *testing.T) {
		r, err := client.Sync(t.Context(), &ktrdrv1.SyncRequest{Nodes: names})
		bounded(t, r, err)
		if len(r.GetResults()) != largeFleet || len(r.GetResults()[7].GetMessage()) < 100 {
			t.Errorf("%d results, the eighth %v", len(r.GetResults()), r.GetResults()[7])
		}
	})
	t.Run("References", func(t *testing.T) {
		seen, ask := map[string]bool{}, names
		for len(ask) > 0 {
			r, err := client.References(t.Context(), &ktrdrv1.ReferencesRequest{Nodes: ask})
			bounded(t, r, err)
			for _, n := range r.GetNodes() {
				seen[n.GetNode()] = true
			}
			ask = nil
			for _, f := range r.GetFailed() {
				if f.GetReason() != "AnswerTooLarge" {
					t.Fatalf("failed: %v", f)
				}
				ask = append(ask, f.GetNode())
			}
		}
		if len(seen) != largeFleet {
			t.Errorf("%d nodes answered", len(seen))
		}
	})
	t.Run("PlanFleet, Doctor, Logs, Events", func(t *testing.T) {
		// One node, or one event, a message, which was bounded when it came from the agent.
		stream, err := client.Events(t.Context(), &ktrdrv1.EventsRequest{Limit: 1000})
		must(t, err)
		for {
			e, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			must(t, err)
			if proto.Size(e) > 16<<10 {
				t.Errorf("an event of %d bytes", proto.Size(e))
			}
		}
	})
}

// TestEveryReplyIsMeasured: a new call has to be measured above, or be bounded by what it is.
func TestEveryReplyIsMeasured(t *testing.T) {
	measured := []string{"GetFleet", "WatchFleet", "WatchRollout", "ListNodes", "Hold", "Resume", "Sync", "References", "Events"}
	bounded := map[string]string{
		"Connect": "slices and contents are cut into parts (pkg/controller/slicing)", "Forward": "what an agent sent, which was bounded on its stream",
		"PlanFleet": "one node a message", "PlanTree": "one node a message", "Doctor": "one node a message", "Logs": "a batch of an agent",
		"Diff": "cut, and says so (pkg/controller/repo)", "History": "500 commits", "Validate": "problems are counted", "ListAudit": "by its limit",
		"Scale": "names, and a diff that is cut", "Deploy": "names, and a diff that is cut", "Rollback": "names, and a diff that is cut",
		"ListOperators": "people", "WhoAmI": "one", "CreateOperator": "one", "RemoveOperator": "none", "RenewAccess": "one",
		"Join": "one", "Renew": "one", "CreateJoinToken": "one", "Cordon": "none", "Uncordon": "none", "RemoveNode": "none",
	}
	known := append(slices.Collect(maps.Keys(bounded)), measured...)
	protoregistry.GlobalFiles.RangeFilesByPackage(ktrdrv1.File_ktrdr_v1_fleet_proto.Package(), func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				if name := string(methods.Get(j).Name()); !slices.Contains(known, name) {
					t.Errorf("%s: how large can its reply become? Measure it with %d nodes", name, largeFleet)
				}
			}
		}
		return true
	})
}
