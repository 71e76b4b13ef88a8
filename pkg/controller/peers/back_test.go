package peers_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"

	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/peers"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
	"ktrdr.io/fleet/test/port"
)

// TestAnotherControllerIsBack: it gets commands as soon as it answers, however long the pause between
// attempts has become.
func TestAnotherControllerIsBack(t *testing.T) {
	made := httptest.NewTLSServer(nil) // its certificate
	defer made.Close()
	roots := x509.NewCertPool()
	roots.AddCert(made.Certificate())
	address := port.Reserve(t)
	c := &peers.Client{
		Address: func(context.Context, string) (string, error) { return address, nil },
		TLS:     func() (*tls.Config, error) { return wire.TrustTLS(roots), nil },
		Options: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: time.Hour, MaxDelay: time.Hour}})},
	}
	defer c.Close() //nolint:errcheck // of a test
	call := func() error {
		_, err := c.Forward(t.Context(), "c2", hub.Request{Node: "b", Command: hold("operator/karl")})
		return err
	}
	if err := call(); !errors.Is(err, hub.ErrElsewhere) {
		t.Fatalf("nobody listens: %v", err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&made.TLS.Certificates[0])))
	ktrdrv1.RegisterControllerServiceServer(server, ktrdrv1.UnimplementedControllerServiceServer{})
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	defer serving.Wait()
	defer server.Stop()
	for end := time.Now().Add(time.Minute); ; <-time.After(10 * time.Millisecond) {
		err := call()
		if errors.Is(err, hub.ErrUnsupported) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it is back and not asked: %v", err)
		}
	}
}
