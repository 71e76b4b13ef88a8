package remote_test

import (
	"encoding/pem"
	"errors"
	"net"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"ktrdr.io/fleet/pkg/ctl/internal/remote"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
	"ktrdr.io/fleet/test/port"
)

// TestBackAtOnce: a controller that was away for long is asked again as soon as it answers, however
// long the pause between attempts has become.
func TestBackAtOnce(t *testing.T) {
	made := httptest.NewTLSServer(nil) // its certificate
	defer made.Close()
	address := port.Reserve(t)
	c, err := remote.Dial(remote.Config{
		Addresses: []string{address}, Authority: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Certificate().Raw}), Token: "token",
		Options: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: time.Hour, MaxDelay: time.Hour}})},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	call := func() error {
		_, err := c.Fleet.GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{})
		return c.Explain(t.Context(), err)
	}
	if _, away := errors.AsType[*remote.UnreachableError](call()); !away {
		t.Fatal("somebody answers")
	}
	serve(t, made, address)
	for end := time.Now().Add(time.Minute); ; <-time.After(10 * time.Millisecond) {
		err := call()
		if refused, ok := errors.AsType[*remote.RefusedError](err); ok && refused.Code == codes.Unimplemented {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it is back and not asked: %v", err)
		}
	}
}

// serve answers at an address until stop is called; "" for any.
func serve(t *testing.T, made *httptest.Server, address string) (at string, stop func()) {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&made.TLS.Certificates[0])))
	ktrdrv1.RegisterFleetServiceServer(server, ktrdrv1.UnimplementedFleetServiceServer{})
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	stop = sync.OnceFunc(func() { server.Stop(); serving.Wait() })
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

// TestAsksTheNextOne: one controller of several is enough, whichever it is, and when none answers
// that says all of them.
func TestAsksTheNextOne(t *testing.T) {
	made := httptest.NewTLSServer(nil) // its certificate
	defer made.Close()
	first, stopFirst := serve(t, made, "")
	second, stopSecond := serve(t, made, "")
	c, err := remote.Dial(remote.Config{
		Addresses: []string{first, second}, Token: "token", Authority: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: made.Certificate().Raw}),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func() (at string, err error) {
		var by peer.Peer
		_, err = c.Fleet.GetFleet(t.Context(), &ktrdrv1.GetFleetRequest{}, grpc.Peer(&by))
		if by.Addr != nil {
			at = by.Addr.String()
		}
		return at, c.Explain(t.Context(), err)
	}
	answers := func(want string) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; <-time.After(10 * time.Millisecond) {
			at, err := ask()
			if refused, ok := errors.AsType[*remote.RefusedError](err); ok && refused.Code == codes.Unimplemented && at == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s is not asked: %q, %v", want, at, err)
			}
		}
	}
	answers(first)
	stopFirst()
	answers(second)
	_, stopFirst = serve(t, made, first)
	stopSecond()
	answers(first)
	stopFirst()
	_, err = ask()
	if away, ok := errors.AsType[*remote.UnreachableError](err); !ok || away.Address != first+", "+second {
		t.Errorf("nobody answers: %v", err)
	}
}
