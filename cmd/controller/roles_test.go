package main

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestWhoMayDoWhat on the whole program: viewers read, nodes have nothing to ask for, strangers
// get nothing, and who is removed is out.
func TestWhoMayDoWhat(t *testing.T) {
	s := newSite(t)
	s.write("the first", state())
	a := &agenttest.Agent{Name: "a"}
	s.agent(a)
	made, err := s.access.CreateOperator(t.Context(), &ktrdrv1.CreateOperatorRequest{Operator: &ktrdrv1.Operator{Name: "vera", Role: "viewer"}})
	must(t, err)
	viewer := made.GetAccessToken()
	if out, err := s.gitAs(viewer, "push", "desired-state", "main"); err == nil || !strings.Contains(out, "403") {
		t.Errorf("a viewer pushes: %v\n%s", err, out)
	}
	vera := s.dial(viewer)
	if _, err := ktrdrv1.NewFleetServiceClient(vera).GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{}); err != nil {
		t.Errorf("a viewer reads: %v", err)
	}
	if _, err := ktrdrv1.NewFleetServiceClient(vera).Scale(t.Context(), &ktrdrv1.ScaleRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a viewer scales: %v", err)
	}
	node := s.join("b")
	conn, err := wire.Dial(wire.Client{Target: s.addr, TLS: func() (*tls.Config, error) { return wire.ClientTLS(node), nil }})
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := ktrdrv1.NewFleetServiceClient(conn).GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a node reads the fleet: %v", err)
	}
	if _, err := ktrdrv1.NewFleetServiceClient(s.dial("")).GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a stranger reads the fleet: %v", err)
	}
	s.await("a is connected, and was greeted", func() bool { _, greeted := a.Received(); return s.connected() == 1 && greeted > 0 })
	_, err = s.nodes.RemoveNode(t.Context(), &ktrdrv1.RemoveNodeRequest{Node: "a"})
	must(t, err)
	s.await("a is out", func() bool { return s.connected() == 0 })
	_, before := a.Received()
	_, err = s.access.RemoveOperator(t.Context(), &ktrdrv1.RemoveOperatorRequest{Name: "vera"})
	must(t, err)
	if _, err := ktrdrv1.NewFleetServiceClient(vera).GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("who was removed reads the fleet: %v", err)
	}
	if _, after := a.Received(); after != before {
		t.Errorf("a node that was removed was greeted %d times", after-before)
	}
	audit, err := s.access.ListAudit(t.Context(), &ktrdrv1.ListAuditRequest{})
	must(t, err)
	var trail []string
	for _, e := range audit.GetEntries() {
		trail = append(trail, e.GetWho()+" "+e.GetWhat()+" "+e.GetTarget()+" "+e.GetResult())
	}
	for _, want := range []string{"operator/admin NodeService/RemoveNode node=a ok", "operator/vera FleetService/Scale  PermissionDenied", "operator/vera git push  403"} {
		if !strings.Contains(strings.Join(trail, "\n"), want) {
			t.Errorf("the trail has no %q:\n%s", want, strings.Join(trail, "\n"))
		}
	}
}

// TestHealthAndReflection: anybody may ask whether the controller serves, viewers what it serves.
func TestHealthAndReflection(t *testing.T) {
	s := newSite(t)
	health, err := grpc_health_v1.NewHealthClient(s.dial("")).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil || health.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v %v", health, err)
	}
	list := func(token string) (*reflectionv1.ListServiceResponse, error) {
		stream, err := reflectionv1.NewServerReflectionClient(s.dial(token)).ServerReflectionInfo(t.Context())
		must(t, err)
		must(t, stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}))
		answer, err := stream.Recv()
		return answer.GetListServicesResponse(), err
	}
	services, err := list(s.token)
	must(t, err)
	var names []string
	for _, service := range services.GetService() {
		names = append(names, service.GetName())
	}
	for _, want := range []string{"grpc.health.v1.Health", "ktrdr.v1.AgentService", "ktrdr.v1.EnrollmentService", "ktrdr.v1.FleetService"} {
		if !slices.Contains(names, want) {
			t.Errorf("reflection lists %q, not %s", names, want)
		}
	}
	if _, err := list(""); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a stranger lists the services: %v", err)
	}
}

// TestInitOnce is what the unit does at every start.
func TestInitOnce(t *testing.T) {
	dir := t.TempDir()
	config, out := filepath.Join(dir, "controller.yaml"), filepath.Join(dir, "admin.yaml")
	must(t, os.WriteFile(config, []byte("ips: [127.0.0.1]\nstateDir: "+dir+"/state\n"), 0o600))
	s := &site{t: t}
	run := func(args ...string) error {
		said, err := s.command(append(args, "--config", config)...).CombinedOutput()
		t.Logf("%s", said)
		return err
	}
	must(t, os.WriteFile(out, []byte("half"), 0o600)) // a crash
	must(t, run("init", "--once", "--out", out))
	_, first := readContext(t, out)
	must(t, run("init", "--once", "--out", out))
	if _, again := readContext(t, out); again != first {
		t.Error("the second start makes other credentials")
	}
	if run("init", "--out", out) == nil {
		t.Error("init without --once writes over credentials")
	}
	must(t, run("operator", "add", "karl", "--role", "operator", "--out", filepath.Join(dir, "karl.yaml")))
	if _, karl := readContext(t, filepath.Join(dir, "karl.yaml")); karl == first || karl == "" {
		t.Error("karl has no credentials of his own")
	}
}
