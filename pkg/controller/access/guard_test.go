package access_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/access"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// fleetService answers some calls so that what the guard does around them shows.
type fleetService struct {
	ktrdrv1.UnimplementedFleetServiceServer
	ktrdrv1.UnimplementedEnrollmentServiceServer
	ktrdrv1.UnimplementedAgentServiceServer
}

func (fleetService) Scale(ctx context.Context, _ *ktrdrv1.ScaleRequest) (*ktrdrv1.ChangeResponse, error) {
	caller, _ := access.CallerFrom(ctx)
	access.Note(ctx, "", "scaled by "+caller.Email)
	return &ktrdrv1.ChangeResponse{}, nil
}

func (fleetService) Deploy(context.Context, *ktrdrv1.DeployRequest) (*ktrdrv1.ChangeResponse, error) {
	panic("planted")
}

func (fleetService) Join(context.Context, *ktrdrv1.JoinRequest) (*ktrdrv1.JoinResponse, error) {
	return nil, errors.New("key /ktrdr/tokens/x at etcd-1:2379")
}

// Logs waits for the end of its stream.
func (fleetService) Logs(_ *ktrdrv1.LogsRequest, stream grpc.ServerStreamingServer[ktrdrv1.LogsResponse]) error {
	if err := stream.Send(&ktrdrv1.LogsResponse{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	if err := stream.Send(&ktrdrv1.LogsResponse{}); err == nil {
		return errors.New("something was sent to who lost access")
	}
	return nil
}

// Connect greets, and says goodbye to who closes its end.
func (fleetService) Connect(stream grpc.BidiStreamingServer[ktrdrv1.AgentMessage, ktrdrv1.ControllerMessage]) error {
	if err := stream.Send(&ktrdrv1.ControllerMessage{}); err != nil {
		return err
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		return err
	}
	return stream.Send(&ktrdrv1.ControllerMessage{})
}

func registerFleet(server *grpc.Server) {
	ktrdrv1.RegisterFleetServiceServer(server, fleetService{})
	ktrdrv1.RegisterEnrollmentServiceServer(server, fleetService{})
	ktrdrv1.RegisterAgentServiceServer(server, fleetService{})
	grpc_health_v1.RegisterHealthServer(server, grpc_health_v1.UnimplementedHealthServer{})
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestTrail(t *testing.T) {
	s := serve(t, registerFleet, nil)
	cert, _ := s.operator(t, "karl", access.Operator)
	viewer, _ := s.operator(t, "vera", access.Viewer)
	scale := &ktrdrv1.ScaleRequest{Pool: "backtest", Node: "b\n\x00" + strings.Repeat("x", 5000), Count: 3}
	fleet := ktrdrv1.NewFleetServiceClient(s.dial(t, cert, ""))
	if _, err := fleet.Scale(patient(t), scale); err != nil {
		t.Fatal(err)
	}
	if _, err := ktrdrv1.NewFleetServiceClient(s.dial(t, viewer, "")).Scale(patient(t), &ktrdrv1.ScaleRequest{Pool: "training"}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a viewer scaled: %v", err)
	}
	// A reading call is not kept, a refused one is.
	if _, err := fleet.GetFleet(patient(t), &ktrdrv1.GetFleetRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("read: %v", err)
	}
	if _, err := ktrdrv1.NewFleetServiceClient(s.dial(t, nil, "")).GetFleet(patient(t), &ktrdrv1.GetFleetRequest{Nodes: []string{"b", "c"}}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a stranger read: %v", err)
	}
	var got []string
	for _, e := range s.book.trail() {
		if !strings.HasPrefix(e.From, "127.0.0.1:") || time.Since(e.At).Abs() > time.Minute {
			t.Errorf("entry from %q at %s", e.From, e.At)
		}
		if len(e.Target) > 400 || strings.ContainsAny(e.Target, "\n\x00") {
			t.Errorf("target is %q", e.Target)
		}
		got = append(got, fmt.Sprintf("%s %s %s %.25s %s %s", e.Who, e.Role, e.What, e.Target, e.Result, e.Detail))
	}
	want := []string{
		"operator/karl operator FleetService/Scale pool=backtest node=b..xxx ok scaled by karl@example.org",
		"operator/vera viewer FleetService/Scale pool=training PermissionDenied ",
		"anonymous anonymous FleetService/GetFleet nodes=b,c Unauthenticated ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the trail is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestPanicEndsOneCall(t *testing.T) {
	s := serve(t, registerFleet, nil)
	cert, _ := s.operator(t, "karl", access.Operator)
	fleet := ktrdrv1.NewFleetServiceClient(s.dial(t, cert, ""))
	if _, err := fleet.Deploy(patient(t), &ktrdrv1.DeployRequest{}); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "planted") {
		t.Errorf("after a panic: %v", err)
	}
	if _, err := fleet.Scale(patient(t), &ktrdrv1.ScaleRequest{}); err != nil {
		t.Errorf("the next call: %v", err)
	}
	if e := s.book.trail()[0]; e.Result != "Internal" {
		t.Errorf("the trail says %q", e.Result)
	}
}

func TestStrangersLearnNothing(t *testing.T) {
	s := serve(t, registerFleet, nil)
	_, err := ktrdrv1.NewEnrollmentServiceClient(s.dial(t, nil, "")).Join(patient(t), &ktrdrv1.JoinRequest{})
	if status.Code(err) != codes.Internal || strings.Contains(err.Error(), "etcd") {
		t.Errorf("an inner error reached a stranger: %v", err)
	}
}

func TestStrangersAreLimited(t *testing.T) {
	s := serveLimited(t, access.Limits{Burst: 3, Pause: time.Hour}, registerFleet, nil)
	enrollment := ktrdrv1.NewEnrollmentServiceClient(s.dial(t, nil, ""))
	var got []codes.Code
	for range 5 {
		_, err := enrollment.Join(patient(t), &ktrdrv1.JoinRequest{})
		got = append(got, status.Code(err))
	}
	if want := []codes.Code{codes.Internal, codes.Internal, codes.Internal, codes.ResourceExhausted, codes.ResourceExhausted}; !slices.Equal(got, want) {
		t.Errorf("five joins ended with %v, want %v", got, want)
	}
	if n := len(s.book.trail()); n != 3 {
		t.Errorf("the trail has %d entries, want 3: what is over the limit is not written", n)
	}
	// Guessing tokens uses the same tries up, valid certificates don't care.
	_, err := ktrdrv1.NewFleetServiceClient(s.dial(t, nil, pki.NewOperatorToken().Text())).GetFleet(patient(t), &ktrdrv1.GetFleetRequest{})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a guessed token: %v", err)
	}
	cert, _ := s.operator(t, "karl", access.Operator)
	if _, err := ktrdrv1.NewFleetServiceClient(s.dial(t, cert, "")).Scale(patient(t), &ktrdrv1.ScaleRequest{}); err != nil {
		t.Errorf("an operator from the same address: %v", err)
	}
	if _, err := grpc_health_v1.NewHealthClient(s.dial(t, nil, "")).Check(patient(t), &grpc_health_v1.HealthCheckRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("a health check from the same address: %v", err)
	}
}

func TestGuessedTokensAreLimited(t *testing.T) {
	s := serveLimited(t, access.Limits{Burst: 3, Pause: time.Hour}, registerFleet, nil)
	var got []codes.Code
	for range 5 {
		_, err := ktrdrv1.NewFleetServiceClient(s.dial(t, nil, pki.NewOperatorToken().Text())).GetFleet(patient(t), &ktrdrv1.GetFleetRequest{})
		got = append(got, status.Code(err))
	}
	if want := []codes.Code{codes.Unauthenticated, codes.Unauthenticated, codes.Unauthenticated, codes.ResourceExhausted, codes.ResourceExhausted}; !slices.Equal(got, want) {
		t.Errorf("five guesses ended with %v, want %v", got, want)
	}
}

// TestStreamsEndWithAccess opens streams and takes their callers' access away.
func TestStreamsEndWithAccess(t *testing.T) {
	tests := map[string]struct {
		change func(*book)
		want   codes.Code
	}{
		"removed": {func(b *book) { delete(b.people, "karl") }, codes.Unauthenticated},
		"expired": {func(b *book) {
			b.people["karl"] = access.Person{Name: "karl", Role: access.Admin, Expires: time.Unix(1, 0)}
		}, codes.Unauthenticated},
		"role is gone":  {func(b *book) { b.people["karl"] = access.Person{Name: "karl", Role: "guest"} }, codes.Unauthenticated},
		"another token": {func(b *book) { clear(b.tokens) }, codes.Unauthenticated},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			s := serve(t, registerFleet, nil)
			_, token := s.operator(t, "karl", access.Viewer)
			stream, err := ktrdrv1.NewFleetServiceClient(s.dial(t, nil, token.Text())).Logs(patient(t), &ktrdrv1.LogsRequest{Nodes: []string{"b"}})
			must(t, err)
			_, err = stream.Recv()
			must(t, err)
			s.guard.Recheck(t.Context())
			s.book.change(tc.change)
			s.guard.Recheck(t.Context())
			if _, err = stream.Recv(); status.Code(err) != tc.want {
				t.Errorf("the stream ended with %v, want %s", err, tc.want)
			}
		})
	}
}

func TestStreamsEndWithTheCertificate(t *testing.T) {
	s := serve(t, registerFleet, nil)
	authority := s.authority
	for life := 3 * time.Second; ; life *= 2 {
		s.authority = authority.WithLifetime(life)
		cert, _ := s.operator(t, "karl", access.Viewer)
		stream, err := ktrdrv1.NewFleetServiceClient(s.dial(t, cert, "")).Logs(patient(t), &ktrdrv1.LogsRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		if err != nil && time.Now().After(cert.NotAfter()) && life < time.Minute {
			continue // it ended before there was a stream
		}
		must(t, err)
		if _, err = stream.Recv(); status.Code(err) != codes.Unauthenticated {
			t.Errorf("after the end of the certificate: %v", err)
		}
		return
	}
}

// TestDirectoryAway: nobody new gets in, streams of nodes stay.
func TestDirectoryAway(t *testing.T) {
	s := serve(t, registerFleet, nil)
	conn := s.dial(t, s.node(t, "b"), "")
	stream, err := ktrdrv1.NewAgentServiceClient(conn).Connect(patient(t))
	must(t, err)
	_, err = stream.Recv()
	must(t, err)
	s.book.change(func(b *book) { b.away = true })
	s.guard.Recheck(t.Context())
	_, err = ktrdrv1.NewEnrollmentServiceClient(conn).Renew(patient(t), &ktrdrv1.RenewRequest{})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("a call without a directory: %v", err)
	}
	must(t, stream.CloseSend())
	if _, err := stream.Recv(); err != nil {
		t.Errorf("the open stream: %v", err)
	}
}
