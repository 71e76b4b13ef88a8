package fleet_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"ktrdr.io/fleet/pkg/controller/fleet"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// limited serves the lab's fleet with another limit of uploads.
func (l *lab) limited(limit time.Duration) ktrdrv1.FleetServiceClient {
	l.t.Helper()
	listener := bufconn.Listen(1 << 20)
	rpc := grpc.NewServer()
	ktrdrv1.RegisterFleetServiceServer(rpc, fleet.New(fleet.Config{
		Version: "test", Repo: stubRepo{lab: l}, Store: l.store, Hub: l.hub, Shelf: l.shelf, Ledger: l.ledger, UploadLimit: limit, Log: slog.New(slog.DiscardHandler),
	}))
	var serving sync.WaitGroup
	serving.Go(func() { _ = rpc.Serve(listener) })
	conn, err := grpc.NewClient("passthrough:///fleet", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	must(l.t, err)
	l.t.Cleanup(func() {
		must(l.t, conn.Close())
		rpc.Stop()
		serving.Wait()
	})
	return ktrdrv1.NewFleetServiceClient(conn)
}

// TestSlowUploads: who uploads nothing, or byte for byte without an end, keeps a place only
// for so long, and nothing on the disk.
func TestSlowUploads(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	l := newLab(t)
	l.accept(l.trees.write(t, "first", state(nil)))
	const limit = 2 * time.Second
	client := l.limited(limit)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	half := archive(t, state(nil))[:700]
	validate := func(after func(ktrdrv1.FleetService_ValidateClient)) func() error {
		return func() error {
			stream, err := client.Validate(ctx)
			if err == nil {
				err = stream.Send(&ktrdrv1.TreeChunk{Content: half})
			}
			if err != nil {
				return err
			}
			after(stream)
			return stream.RecvMsg(&ktrdrv1.ValidateResponse{})
		}
	}
	planTree := func(parts ...[]byte) func() error {
		return func() error {
			stream, err := client.PlanTree(ctx)
			if err != nil {
				return err
			}
			for _, part := range parts {
				if err := stream.Send(&ktrdrv1.PlanTreeRequest{Content: part}); err != nil {
					return err
				}
			}
			_, err = stream.Recv()
			return err
		}
	}
	slow := map[string]func() error{
		"validate that stops": validate(func(ktrdrv1.FleetService_ValidateClient) {}),
		"validate byte for byte": validate(func(stream ktrdrv1.FleetService_ValidateClient) {
			ticker := time.NewTicker(10 * time.Millisecond)
			defer ticker.Stop()
			for ctx.Err() == nil && stream.Send(&ktrdrv1.TreeChunk{Content: []byte("x")}) == nil {
				<-ticker.C
			}
		}),
		"plan that stops":       planTree(half),
		"another plan":          planTree(half),
		"plan that never began": planTree(),
	}
	began := time.Now()
	var all sync.WaitGroup
	for name, upload := range slow {
		all.Go(func() {
			if err := upload(); status.Code(err) != codes.Aborted || !strings.Contains(err.Error(), "within 2s") {
				t.Errorf("%s ends after %s with %v", name, time.Since(began), err)
			}
		})
	}
	all.Wait()
	if took := time.Since(began); took < limit {
		t.Errorf("all had ended after %s", took)
	}
	for {
		stream, err := client.Validate(ctx)
		must(t, err)
		if err := stream.Send(&ktrdrv1.TreeChunk{Content: archive(t, state(nil))}); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		answer, err := stream.CloseAndRecv()
		if status.Code(err) == codes.Aborted {
			continue // it had a place, and this machine took longer than the limit
		}
		if err != nil || len(answer.GetProblems()) > 0 {
			t.Errorf("the next one: %v %v", answer, err)
		}
		break
	}
	l.await("nothing is left behind", func() bool { left, err := os.ReadDir(temp); return err == nil && len(left) == 0 })
}
