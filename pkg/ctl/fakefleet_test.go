package ctl_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// fakeFleet is a controller without a fleet: its state is set by scenes. It is reached over
// the controllers' real port, with TLS of a real authority.
type fakeFleet struct {
	ktrdrv1.UnimplementedFleetServiceServer
	ktrdrv1.UnimplementedNodeServiceServer
	ktrdrv1.UnimplementedAccessServiceServer

	authority *pki.Authority
	address   string
	stop      func()

	mu      sync.Mutex
	changed chan struct{} // closed at every change
	fleet   *ktrdrv1.Fleet
	rollout *ktrdrv1.Rollout
	parts   bool // what is large comes in parts, as of a controller that knows of that
	calls   []string
	refuse  map[string]error // by method
	hangs   bool             // in WhoAmI
	logs    []*ktrdrv1.LogsResponse
	events  []*ktrdrv1.FleetEvent
}

const adminToken = "ktrdro.admin.planted-secret"

func newFakeFleet(dir string) (*fakeFleet, error) {
	a, err := pki.Create(dir)
	if err != nil {
		return nil, err
	}
	return &fakeFleet{authority: a, changed: make(chan struct{}), refuse: map[string]error{}, fleet: &ktrdrv1.Fleet{}}, nil
}

// serve opens the port; of address "" any one.
func (f *fakeFleet) serve(address string) error {
	cert, err := f.authority.IssueServer([]string{"localhost"}, []netip.Addr{netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		return err
	}
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	f.address = l.Addr().String()
	port := wire.NewPort(l, wire.NewServerIdentity(cert, f.authority.Pool()), wire.DefaultPortLimits())
	rpc := grpc.NewServer(append(wire.ServerOptions(), grpc.UnaryInterceptor(f.unary), grpc.StreamInterceptor(f.stream))...)
	ktrdrv1.RegisterFleetServiceServer(rpc, f)
	ktrdrv1.RegisterNodeServiceServer(rpc, f)
	ktrdrv1.RegisterAccessServiceServer(rpc, f)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { _ = port.Serve(ctx) })
	all.Go(func() { _ = rpc.Serve(port.GRPC()) })
	f.stop = sync.OnceFunc(func() { rpc.Stop(); cancel(); all.Wait() })
	return nil
}

// admit knows tokens by their second word, which is the role.
func (f *fakeFleet) admit(ctx context.Context, method string) error {
	if id, err := pki.IdentityOf(peerState(ctx)); err == nil && id.Kind == pki.Operator {
		return f.refusal(method)
	}
	md, _ := metadata.FromIncomingContext(ctx)
	token, _ := strings.CutPrefix(strings.Join(md.Get("authorization"), ""), "Bearer ")
	role := strings.Split(token+"..", ".")[1]
	switch {
	case !strings.HasSuffix(token, ".planted-secret"):
		return status.Error(codes.Unauthenticated, "the token is not known")
	case role == "viewer" && slices.Contains([]string{"Scale", "PlanTree", "Deploy", "Rollback", "Hold", "CreateOperator", "ListAudit"}, method):
		return status.Error(codes.PermissionDenied, method+" takes the role operator, viewer has viewer")
	}
	return f.refusal(method)
}

func (f *fakeFleet) refusal(method string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refuse[method]
}

func (f *fakeFleet) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	f.note(info.FullMethod, req)
	if err := f.admit(ctx, filepath.Base(info.FullMethod)); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (f *fakeFleet) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := f.admit(ss.Context(), filepath.Base(info.FullMethod)); err != nil {
		return err
	}
	return next(srv, &notingStream{ss, f, info.FullMethod})
}

type notingStream struct {
	grpc.ServerStream
	fleet  *fakeFleet
	method string
}

func (s *notingStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err == nil {
		s.fleet.note(s.method, m)
	}
	return err
}

// note keeps a request as "Method {json}".
func (f *fakeFleet) note(method string, req any) {
	text, _ := protojson.Marshal(req.(proto.Message))
	var compact bytes.Buffer // protojson's blanks are random
	_ = json.Compact(&compact, text)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, filepath.Base(method)+" "+compact.String())
}

// change does something to the state and wakes those who watch it.
func (f *fakeFleet) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.changed)
	f.changed = make(chan struct{})
}

// snapshot returns the state and what is closed when it changes.
func (f *fakeFleet) snapshot() (fleet *ktrdrv1.Fleet, rollout *ktrdrv1.Rollout, changed <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return proto.CloneOf(f.fleet), proto.CloneOf(f.rollout), f.changed
}

func (f *fakeFleet) GetFleet(_ context.Context, req *ktrdrv1.GetFleetRequest) (*ktrdrv1.Fleet, error) {
	fleet, _, _ := f.snapshot()
	if len(req.GetNodes()) > 0 {
		fleet.Nodes = slices.DeleteFunc(fleet.Nodes, func(n *ktrdrv1.Node) bool { return !slices.Contains(req.GetNodes(), n.GetName()) })
	}
	return fleet, nil
}

func (f *fakeFleet) WatchFleet(_ *ktrdrv1.GetFleetRequest, s grpc.ServerStreamingServer[ktrdrv1.FleetUpdate]) error {
	fleet, _, changed := f.snapshot()
	update := &ktrdrv1.FleetUpdate{Fleet: fleet}
	for {
		if err := f.parted(update, s.Send); err != nil {
			return err
		}
		select {
		case <-s.Context().Done():
			return s.Context().Err()
		case <-changed:
		}
		before := fleet
		fleet, _, changed = f.snapshot()
		update = &ktrdrv1.FleetUpdate{Head: fleet.GetHead(), Rollout: fleet.GetRollout()}
		for _, n := range fleet.GetNodes() {
			if !slices.ContainsFunc(before.GetNodes(), func(b *ktrdrv1.Node) bool { return proto.Equal(b, n) }) {
				update.Nodes = append(update.Nodes, n)
			}
		}
		for _, n := range before.GetNodes() {
			if !slices.ContainsFunc(fleet.GetNodes(), func(b *ktrdrv1.Node) bool { return b.GetName() == n.GetName() }) {
				update.Removed = append(update.Removed, n.GetName())
			}
		}
	}
}

func (f *fakeFleet) WatchRollout(req *ktrdrv1.WatchRolloutRequest, s grpc.ServerStreamingServer[ktrdrv1.Rollout]) error {
	for {
		_, rollout, changed := f.snapshot()
		if rollout == nil || req.GetRevision() != "" && req.GetRevision() != rollout.GetRevision() {
			return status.Errorf(codes.NotFound, "there is no rollout of %s", req.GetRevision())
		}
		if err := s.Send(rollout); err != nil {
			return err
		}
		if rollout.GetPhase() != "running" {
			return nil
		}
		select {
		case <-s.Context().Done():
			return s.Context().Err()
		case <-changed:
		}
	}
}

// writeConfig makes the script's ktrdrctl talk to this controller with a token.
func (f *fakeFleet) writeConfig(ts *testscript.TestScript, token string) {
	path := ts.MkAbs("config")
	text := fmt.Sprintf("apiVersion: ktrdr.io/v1alpha1\nkind: Config\ncurrent: home\ncontexts:\n- name: home\n  controller: https://%s\n  authorityFile: ca.pem\n  token: %s\n", f.address, token)
	ts.Check(os.WriteFile(path, []byte(text), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("ca.pem"), f.authority.BundlePEM(), 0o644))
	ts.Setenv("KTRDR_CONFIG", path)
	ts.Setenv("KTRDR_AGENT", "")
}

func cmdController(ts *testscript.TestScript, _ bool, args []string) {
	f := fleetOf(ts)
	fake, err := newFakeFleet(ts.MkAbs("authority"))
	ts.Check(err)
	ts.Check(fake.serve(""))
	f.controller = fake
	ts.Defer(func() { fake.stop() })
	fake.writeConfig(ts, adminToken)
	ts.Check(fake.play(args[0], time.Now()))
	ts.Setenv("CONTROLLER", fake.address)
}

func cmdFleet(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(fleetOf(ts).controller.play(args[0], time.Now()))
}

func cmdToken(ts *testscript.TestScript, _ bool, args []string) {
	fleetOf(ts).controller.writeConfig(ts, args[0])
}

func cmdStopController(ts *testscript.TestScript, _ bool, _ []string) {
	fleetOf(ts).controller.stop()
}

func cmdRestartController(ts *testscript.TestScript, _ bool, _ []string) {
	fake := fleetOf(ts).controller
	ts.Check(fake.serve(fake.address))
}

// cmdCalled waits for a request, or wants none to have come.
func cmdCalled(ts *testscript.TestScript, neg bool, args []string) {
	fake := fleetOf(ts).controller
	for deadline := time.Now().Add(patience); ; <-time.After(20 * time.Millisecond) {
		fake.mu.Lock()
		calls := slices.Clone(fake.calls)
		fake.mu.Unlock()
		found := slices.ContainsFunc(calls, func(call string) bool { return strings.Contains(call, args[0]) })
		if found != neg {
			return
		}
		if neg || time.Now().After(deadline) {
			ts.Fatalf("calls were\n%s", strings.Join(calls, "\n"))
		}
	}
}
