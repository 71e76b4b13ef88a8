package controller

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/enroll"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestFirstAnswerIsWhole: a controller that has just started has read its store before it answers.
func TestFirstAnswerIsWhole(t *testing.T) {
	const count = 3000
	cfg, listener := startable(t)
	s, err := store.Open(t.Context(), cfg.store())
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for w := range 50 {
		writers.Go(func() {
			for i := w; i < count; i += 50 {
				if err := s.Nodes().Create(t.Context(), store.Node{Name: fmt.Sprintf("n%04d", i), JoinedAt: time.Now()}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := open(t.Context(), cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	granted, err := c.enroll.Grant(t.Context(), enroll.Grant{Name: "ada", Role: store.RoleAdmin, By: "local"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.serve(ctx, listener, nil) }()
	conn, err := wire.Dial(wire.Client{
		Target: cfg.Listen, Token: granted.Token.Text(), TLS: func() (*tls.Config, error) { return wire.TrustTLS(c.authority.Load().Pool()), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		answer, err := ktrdrv1.NewNodeServiceClient(conn).ListNodes(t.Context(), &ktrdrv1.ListNodesRequest{})
		if status.Code(err) == codes.Unavailable && time.Now().Before(end) {
			conn.ResetConnectBackoff()
			continue
		}
		if err != nil || len(answer.GetNodes()) != count {
			t.Errorf("the first answer has %d of %d nodes: %v", len(answer.GetNodes()), count, err)
		}
		break
	}
	_ = conn.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
}

// TestEndsWhileItStarts: who is told to end before it answers ends well.
func TestEndsWhileItStarts(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cfg, listener := startable(t)
	c, err := open(ctx, cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := c.serve(ctx, listener, nil); err != nil {
		t.Error(err)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
}

// startable is the configuration of a controller whose fleet has an authority, and its listener.
func startable(t *testing.T) (Config, net.Listener) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Default()
	cfg.Listen, cfg.StateDir, cfg.Metrics = l.Addr().String(), filepath.Join(t.TempDir(), "state"), new(string)
	if _, err := Init(t.Context(), cfg, Admission{Name: "admin", Role: "admin", File: filepath.Join(t.TempDir(), "admin.yaml")}); err != nil {
		t.Fatal(err)
	}
	return cfg, l
}
