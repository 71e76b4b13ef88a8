package wire_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	"ktrdr.io/fleet/test/leaks"
)

// patience only keeps a test from waiting for ever.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	if target := os.Getenv(idleTarget); target != "" {
		os.Exit(idleAgents(target))
	}
	leaks.Main(m)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func authority(t testing.TB) *pki.Authority {
	t.Helper()
	a, err := pki.Create(t.TempDir())
	must(t, err)
	return a
}

func serverCert(t testing.TB, a *pki.Authority) tls.Certificate {
	t.Helper()
	cert, err := a.IssueServer([]string{"localhost"}, []netip.Addr{netip.MustParseAddr("127.0.0.1")})
	must(t, err)
	return cert
}

// node gives a new node of the fleet its certificate.
func node(t testing.TB, a *pki.Authority, name string) *pki.Credentials {
	t.Helper()
	s, err := pki.OpenKeyStore(t.TempDir() + "/keys")
	must(t, err)
	csr, err := s.Request()
	must(t, err)
	issued, err := a.IssueNode(name, csr)
	must(t, err)
	c, err := s.Install(pki.Grant{Kind: pki.Node, Name: name, Chain: issued.Chain, Authorities: a.BundleDER()})
	must(t, err)
	return c
}

// fleet is a port with a gRPC server, which has the health service, and an HTTP server,
// which answers with the name of the peer.
type fleet struct {
	authority *pki.Authority
	identity  *wire.ServerIdentity
	addr      string
}

func serve(t testing.TB, limits wire.PortLimits) *fleet {
	t.Helper()
	a := authority(t)
	f := &fleet{authority: a, identity: wire.NewServerIdentity(serverCert(t, a), a.Pool())}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	f.addr = l.Addr().String()
	port := wire.NewPort(l, f.identity, limits)
	rpc := grpc.NewServer(wire.ServerOptions()...)
	grpc_health_v1.RegisterHealthServer(rpc, health.NewServer())
	web := &http.Server{Handler: http.HandlerFunc(whoAmI), ReadHeaderTimeout: 10 * time.Second}

	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return port.Serve(ctx) })
	group.Go(func() error { return rpc.Serve(port.GRPC()) })
	group.Go(func() error {
		if err := web.Serve(port.HTTP()); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	t.Cleanup(func() {
		rpc.Stop()
		_ = web.Close()
		cancel()
		if err := group.Wait(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return f
}

func whoAmI(w http.ResponseWriter, r *http.Request) {
	name := "nobody"
	if id, err := pki.IdentityOf(*r.TLS); err == nil {
		name = id.String()
	}
	_, _ = w.Write([]byte(r.Proto + " " + name))
}

func (f *fleet) dial(t testing.TB, config *tls.Config) *grpc.ClientConn {
	t.Helper()
	conn, err := wire.Dial(wire.Client{Target: f.addr, TLS: func() (*tls.Config, error) { return config, nil }})
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func check(t testing.TB, conn *grpc.ClientConn) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	return err
}
