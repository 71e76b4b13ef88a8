package enroll_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"ktrdr.io/fleet/pkg/controller/access"
	"ktrdr.io/fleet/pkg/controller/enroll"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
	"ktrdr.io/fleet/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// site is a controller with a store, a port and a guard.
type site struct {
	store     *store.Store
	guard     *access.Guard
	service   *enroll.Service
	identity  *wire.ServerIdentity
	authority atomic.Pointer[pki.Authority]
	dir       string // of the first authority
	addr      string

	mu  sync.Mutex
	log bytes.Buffer
}

func (s *site) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *site) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// agents holds the streams of nodes open until they end.
type agents struct {
	ktrdrv1.UnimplementedAgentServiceServer
}

func (agents) Connect(stream grpc.BidiStreamingServer[ktrdrv1.AgentMessage, ktrdrv1.ControllerMessage]) error {
	if err := stream.Send(&ktrdrv1.ControllerMessage{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

func serve(t testing.TB) *site {
	t.Helper()
	s := &site{}
	var err error
	s.store, err = store.Open(t.Context(), store.Config{Embedded: &store.Embedded{Dir: t.TempDir()}})
	must(t, err)
	log := slog.New(slog.NewTextHandler(io.MultiWriter(s, t.Output()), nil))
	directory := enroll.NewDirectory(s.store, log)
	s.guard = access.New(access.Config{Directory: directory, Trail: directory, Log: log, Strangers: access.Limits{Burst: 10_000, Pause: time.Second}})
	s.dir = t.TempDir()
	a, err := pki.Create(s.dir)
	must(t, err)
	s.authority.Store(a)
	s.identity = wire.NewServerIdentity(serverCert(t, a), a.Pool())
	s.service = enroll.New(enroll.Config{
		Store: s.store, Authority: s.authority.Load, Endpoints: []string{"controller.example:9443"}, Recheck: s.guard.Recheck, Log: log,
	})
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	s.addr = l.Addr().String()
	port := wire.NewPort(l, s.identity, wire.DefaultPortLimits())
	rpc := grpc.NewServer(append(wire.ServerOptions(), s.guard.ServerOptions()...)...)
	ktrdrv1.RegisterEnrollmentServiceServer(rpc, s.service)
	ktrdrv1.RegisterAccessServiceServer(rpc, s.service)
	ktrdrv1.RegisterAgentServiceServer(rpc, agents{})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return port.Serve(ctx) })
	group.Go(func() error { return rpc.Serve(port.GRPC()) })
	t.Cleanup(func() {
		rpc.Stop()
		cancel()
		if err := group.Wait(); err != nil {
			t.Errorf("serve: %v", err)
		}
		must(t, s.store.Close())
	})
	return s
}

func serverCert(t testing.TB, a *pki.Authority) tls.Certificate {
	t.Helper()
	cert, err := a.IssueServer([]string{"localhost"}, []netip.Addr{netip.MustParseAddr("127.0.0.1")})
	must(t, err)
	return cert
}

// replace puts another authority in force, as a controller does that reads its files again.
func (s *site) replace(t testing.TB, a *pki.Authority) {
	t.Helper()
	s.authority.Store(a)
	s.identity.Replace(serverCert(t, a), a.Pool())
}

func (s *site) token(t testing.TB, node string) pki.JoinToken {
	t.Helper()
	token, _, err := s.service.NewJoinToken(t.Context(), node, 0, "operator/ada")
	must(t, err)
	return token
}

func keys(t testing.TB) *pki.KeyStore {
	t.Helper()
	k, err := pki.OpenKeyStore(t.TempDir() + "/keys")
	must(t, err)
	return k
}

func (s *site) join(t testing.TB, token pki.JoinToken, k *pki.KeyStore) (*pki.Credentials, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, endpoints, err := wire.Join(ctx, wire.Enrollment{Target: s.addr, Token: token, Store: k, Version: "1.0", Hostname: "host-b"})
	if err == nil && (len(endpoints) != 1 || endpoints[0] != "controller.example:9443") {
		t.Errorf("endpoints are %v", endpoints)
	}
	return c, err
}

func (s *site) joined(t testing.TB, node string) (*pki.KeyStore, *pki.Credentials) {
	t.Helper()
	k := keys(t)
	c, err := s.join(t, s.token(t, node), k)
	must(t, err)
	return k, c
}

func (s *site) dial(t testing.TB, c *pki.Credentials) *grpc.ClientConn {
	t.Helper()
	conn, err := wire.Dial(wire.Client{Target: s.addr, TLS: func() (*tls.Config, error) { return wire.ClientTLS(c), nil }})
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (s *site) dialToken(t testing.TB, token string) ktrdrv1.AccessServiceClient {
	t.Helper()
	conn, err := wire.Dial(wire.Client{
		Target: s.addr, Token: token, TLS: func() (*tls.Config, error) { return wire.TrustTLS(s.authority.Load().Pool()), nil },
	})
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return ktrdrv1.NewAccessServiceClient(conn)
}

// whoAmI is the cheapest call that tells whether a certificate is accepted.
func (s *site) whoAmI(t testing.TB, c *pki.Credentials) (*ktrdrv1.WhoAmIResponse, error) {
	t.Helper()
	return ktrdrv1.NewAccessServiceClient(s.dial(t, c)).WhoAmI(patience(t), &ktrdrv1.WhoAmIRequest{})
}

func patience(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}
