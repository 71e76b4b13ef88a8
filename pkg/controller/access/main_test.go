package access_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"ktrdr.io/fleet/pkg/controller/access"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	"ktrdr.io/fleet/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// book is a directory and a trail in memory. The store's is tested in pkg/controller/enroll.
type book struct {
	mu      sync.Mutex
	away    bool
	nodes   map[string]string // name to serial
	people  map[string]access.Person
	serials map[string]string // of operators
	tokens  map[string]string // hash to name
	entries []access.Entry
}

func newBook() *book {
	return &book{nodes: map[string]string{}, people: map[string]access.Person{}, serials: map[string]string{}, tokens: map[string]string{}}
}

func (b *book) Node(_ context.Context, name, serial string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.away:
		return errors.New("no answer")
	case b.nodes[name] != serial:
		return access.ErrDenied
	}
	return nil
}

func (b *book) Controller(_ context.Context, id string) error {
	if id != "c1" {
		return access.ErrDenied
	}
	return nil
}

func (b *book) Operator(_ context.Context, name, serial string) (access.Person, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	person, known := b.people[name]
	if !known || b.serials[name] != serial {
		return access.Person{}, access.ErrDenied
	}
	return person, nil
}

func (b *book) OperatorByToken(_ context.Context, hash string) (access.Person, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	person, known := b.people[b.tokens[hash]]
	if !known {
		return access.Person{}, access.ErrDenied
	}
	return person, nil
}

func (b *book) Record(_ context.Context, e access.Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries = append(b.entries, e)
	return nil
}

func (b *book) change(f func(*book)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b)
}

func (b *book) trail() []access.Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.entries)
}

// site is a controller's port with a guard.
type site struct {
	book      *book
	guard     *access.Guard
	authority *pki.Authority
	addr      string
}

// serve runs a port; register adds services, web answers HTTP.
func serve(t testing.TB, register func(*grpc.Server), web func(*access.Guard) http.Handler) *site {
	t.Helper()
	return serveLimited(t, access.Limits{Burst: 100_000, Pause: time.Second}, register, web)
}

func serveLimited(t testing.TB, limits access.Limits, register func(*grpc.Server), web func(*access.Guard) http.Handler) *site {
	t.Helper()
	a, err := pki.Create(t.TempDir())
	must(t, err)
	s := &site{book: newBook(), authority: a}
	s.guard = access.New(access.Config{Directory: s.book, Trail: s.book, Strangers: limits, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	cert, err := a.IssueServer([]string{"localhost"}, []netip.Addr{netip.MustParseAddr("127.0.0.1")})
	must(t, err)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	s.addr = l.Addr().String()
	port := wire.NewPort(l, wire.NewServerIdentity(cert, a.Pool()), wire.DefaultPortLimits())
	rpc := grpc.NewServer(append(wire.ServerOptions(), s.guard.ServerOptions()...)...)
	register(rpc)
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second}
	if web != nil {
		server.Handler = web(s.guard)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return port.Serve(ctx) })
	group.Go(func() error { return rpc.Serve(port.GRPC()) })
	group.Go(func() error {
		if err := server.Serve(port.HTTP()); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	t.Cleanup(func() {
		rpc.Stop()
		_ = server.Close()
		cancel()
		if err := group.Wait(); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

// credentials makes a certificate that the directory does not know yet.
func (s *site) credentials(t testing.TB, kind pki.Kind, name string) *pki.Credentials {
	t.Helper()
	keys, err := pki.OpenKeyStore(t.TempDir() + "/keys")
	must(t, err)
	csr, err := keys.Request()
	must(t, err)
	issue := s.authority.IssueNode
	if kind == pki.Operator {
		issue = s.authority.IssueOperator
	}
	issued, err := issue(name, csr)
	must(t, err)
	c, err := keys.Install(pki.Grant{Kind: kind, Name: name, Chain: issued.Chain, Authorities: s.authority.BundleDER()})
	must(t, err)
	return c
}

// node makes a node that the directory knows.
func (s *site) node(t testing.TB, name string) *pki.Credentials {
	t.Helper()
	c := s.credentials(t, pki.Node, name)
	s.book.change(func(b *book) { b.nodes[name] = c.Identity.Serial })
	return c
}

// operator makes an operator with a certificate, and a token as well.
func (s *site) operator(t testing.TB, name string, role access.Role) (*pki.Credentials, pki.OperatorToken) {
	t.Helper()
	c, token := s.credentials(t, pki.Operator, name), pki.NewOperatorToken()
	s.book.change(func(b *book) {
		b.people[name] = access.Person{Name: name, Email: name + "@example.org", Role: role}
		b.serials[name] = c.Identity.Serial
		b.tokens[token.Hash()] = name
	})
	return c, token
}

// controller is the connection of a controller, which is known when it is c1.
func (s *site) controller(t testing.TB, id string) *grpc.ClientConn {
	t.Helper()
	cert, err := s.authority.IssueController(id)
	must(t, err)
	config := wire.TrustTLS(s.authority.Pool())
	config.Certificates = []tls.Certificate{cert}
	conn, err := wire.Dial(wire.Client{Target: s.addr, TLS: func() (*tls.Config, error) { return config, nil }})
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (s *site) config(c *pki.Credentials) *tls.Config {
	if c == nil {
		return wire.TrustTLS(s.authority.Pool())
	}
	return wire.ClientTLS(c)
}

func (s *site) dial(t testing.TB, c *pki.Credentials, token string) *grpc.ClientConn {
	t.Helper()
	conn, err := wire.Dial(wire.Client{Target: s.addr, Token: token, TLS: func() (*tls.Config, error) { return s.config(c), nil }})
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
