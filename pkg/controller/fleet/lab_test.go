package fleet_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	"ktrdr.io/fleet/pkg/controller/fleet"
	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/rollout"
	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
	"ktrdr.io/fleet/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// patience only keeps a test from waiting for ever.
const patience = 2 * time.Minute

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lab is a controller's inside with a real store and real TLS, and trees instead of a
// repository.
type lab struct {
	t         testing.TB
	authority *pki.Authority
	addr      string
	store     *store.Store
	session   *store.Session
	hub       *hub.Hub
	ledger    *fleet.Ledger
	trees     *trees
	shelf     *slicing.Shelf
	admin     *pki.Credentials
	// lag is how far the hub's watch is behind, as it is told; asked counts who was told.
	lag, asked atomic.Int64
}

// newest is what the hub asks the store.
func (l *lab) newest(ctx context.Context) (int64, error) {
	revision, err := l.store.NewestRollout(ctx)
	l.asked.Add(1)
	return revision + l.lag.Load(), err
}

type trees struct {
	dir string
	mu  sync.Mutex
	all map[string]source.Tree
	// full makes every checkout fail as on a full disk.
	full bool
}

// Tree implements slicing.Trees.
func (s *trees) Tree(_ context.Context, revision string) (source.Tree, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tree, ok := s.all[revision]
	if s.full {
		return source.Tree{}, fmt.Errorf("check out %s: %w", revision, syscall.ENOSPC)
	}
	if !ok {
		return tree, fmt.Errorf("no revision %s", revision)
	}
	return tree, nil
}

// write makes a revision of files; its id is made of them and of name.
func (s *trees) write(t testing.TB, name string, files map[string]string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(name + fmt.Sprint(files)))
	id := hex.EncodeToString(sum[:20])
	dir := filepath.Join(s.dir, id)
	for path, content := range files {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, path), []byte(content), 0o600))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[id] = source.Tree{Dir: dir, Revision: source.Revision{ID: id, Branch: "main", Subject: name, Time: time.Unix(1, 0)}}
	return id
}

func newLab(t testing.TB, change ...func(*hub.Config)) *lab {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	l := &lab{t: t, trees: &trees{dir: t.TempDir(), all: map[string]source.Tree{}}}
	var err error
	l.authority, err = pki.Create(filepath.Join(t.TempDir(), "pki"))
	must(t, err)
	l.store, err = store.Open(t.Context(), store.Config{Embedded: &store.Embedded{Dir: filepath.Join(t.TempDir(), "store")}, Lease: time.Minute})
	must(t, err)
	l.session, err = l.store.OpenSession(t.Context(), store.Controller{ID: "c1", StartedAt: time.Now()})
	must(t, err)
	shelf := slicing.NewShelf(l.trees)
	l.shelf = shelf
	config := hub.Config{Controller: "c1", Version: "test", Shelf: shelf, Memory: l.session, Caller: caller, Newest: l.newest, Log: log, StatusInterval: 10 * time.Millisecond}
	for _, c := range change {
		c(&config)
	}
	l.hub, err = hub.New(config)
	must(t, err)
	l.ledger = fleet.NewLedger(log)
	driver := &fleet.Driver{Store: l.store, Session: l.session, Hub: l.hub, Shelf: shelf, Ledger: l.ledger, Grace: 500 * time.Millisecond, Log: log}
	service := fleet.New(fleet.Config{Version: "test", Repo: stubRepo{lab: l}, Store: l.store, Hub: l.hub, Shelf: shelf, Ledger: l.ledger, Driver: driver, Log: log})

	cert, err := l.authority.IssueServer(nil, []netip.Addr{netip.MustParseAddr("127.0.0.1")})
	must(t, err)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	l.addr = listener.Addr().String()
	limits := wire.DefaultPortLimits()
	limits.Strangers, limits.StrangersPerAddr = 4096, 4096
	port := wire.NewPort(listener, wire.NewServerIdentity(cert, l.authority.Pool()), limits)
	rpc := grpc.NewServer(wire.ServerOptions()...)
	ktrdrv1.RegisterAgentServiceServer(rpc, l.hub)
	ktrdrv1.RegisterFleetServiceServer(rpc, service)
	ktrdrv1.RegisterNodeServiceServer(rpc, fleet.NewNodes(service, nil))

	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return port.Serve(ctx) })
	g.Go(func() error { return rpc.Serve(port.GRPC()) })
	g.Go(func() error { return l.hub.Watch(ctx, l.store) })
	g.Go(func() error { return l.ledger.Watch(ctx, l.store) })
	g.Go(func() error { return driver.Run(ctx) })
	t.Cleanup(func() {
		l.hub.Close()
		rpc.Stop()
		if err := l.hub.Wait(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		cancel()
		if err := g.Wait(); err != nil {
			t.Errorf("serve: %v", err)
		}
		_ = shelf.Close()
		if err := l.session.Close(); err != nil {
			t.Error(err)
		}
		if err := l.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// caller is the name in the client's certificate.
func caller(ctx context.Context) (string, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			if id, err := pki.IdentityOf(info.State); err == nil && id.Kind == pki.Node {
				return id.Name, nil
			}
		}
	}
	return "", status.Error(codes.Unauthenticated, "no node")
}

func (l *lab) credentials(kind pki.Kind, name string) *pki.Credentials {
	l.t.Helper()
	s, err := pki.OpenKeyStore(filepath.Join(l.t.TempDir(), "keys"))
	must(l.t, err)
	csr, err := s.Request()
	must(l.t, err)
	issue := l.authority.IssueNode
	if kind == pki.Operator {
		issue = l.authority.IssueOperator
	}
	issued, err := issue(name, csr)
	must(l.t, err)
	c, err := s.Install(pki.Grant{Kind: kind, Name: name, Chain: issued.Chain, Authorities: l.authority.BundleDER()})
	must(l.t, err)
	return c
}

func (l *lab) dial(c *pki.Credentials) (*grpc.ClientConn, error) {
	return wire.Dial(wire.Client{Target: l.addr, TLS: func() (*tls.Config, error) { return wire.ClientTLS(c), nil }})
}

// fleet is an operator's client.
func (l *lab) fleet() ktrdrv1.FleetServiceClient {
	l.t.Helper()
	return ktrdrv1.NewFleetServiceClient(l.operator())
}

func (l *lab) operator() *grpc.ClientConn {
	l.t.Helper()
	if l.admin == nil {
		l.admin = l.credentials(pki.Operator, "karl")
	}
	conn, err := l.dial(l.admin)
	must(l.t, err)
	l.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// agent starts a node's agent; stop ends it.
func (l *lab) agent(a *agenttest.Agent) (stop func()) {
	l.t.Helper()
	if a.Dial == nil {
		c := l.credentials(pki.Node, a.Name)
		a.Dial = func() (*grpc.ClientConn, error) { return l.dial(c) }
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(l.t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
		for _, fault := range a.Faults() {
			l.t.Errorf("agent %s: %s", a.Name, fault)
		}
	})
	l.t.Cleanup(stop)
	return stop
}

// accept makes a revision the head.
func (l *lab) accept(revision string) {
	l.t.Helper()
	before := ""
	if head, err := l.store.Head(l.t.Context()); err == nil {
		before = head.Revision
	}
	_, err := l.store.AdvanceHead(l.t.Context(), before, store.Head{Revision: revision, Parent: before, AcceptedAt: time.Now(), By: "test"})
	must(l.t, err)
}

// await polls until what is true.
func (l *lab) await(what string, ok func() bool) {
	l.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) { //nolint:forbidigo // between two looks
		if time.Now().After(end) {
			fleet, err := l.fleet().GetFleet(l.t.Context(), &ktrdrv1.GetFleetRequest{})
			l.t.Fatalf("not within %s: %s\n%v %v", patience, what, fleet.GetRollout(), err)
		}
	}
}

// connected counts nodes.
func (l *lab) connected() (count int) {
	for _, n := range l.hub.News(0).Nodes {
		if n.Connected {
			count++
		}
	}
	return count
}

// ended waits for the end of a revision's rollout.
func (l *lab) ended(revision string) *ktrdrv1.Rollout {
	l.t.Helper()
	var last *ktrdrv1.Rollout
	l.await("the rollout of "+revision+" ends", func() bool {
		e, ok := l.ledger.Of(revision)
		return ok && e.Record.Phase != "running"
	})
	stream, err := l.fleet().WatchRollout(l.t.Context(), &ktrdrv1.WatchRolloutRequest{Revision: revision})
	must(l.t, err)
	for {
		r, err := stream.Recv()
		if err != nil {
			return last
		}
		last = r
	}
}

// state is a small fleet: core on a, workers on b, c and gpu.
func state(changes map[string]string) map[string]string {
	files := map[string]string{
		"fleet.yaml": "apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: lab}\nspec:\n  rollout:\n    waves: [{name: core, nodes: [a]}, {name: canary, nodes: [b]}]\n",
	}
	stacks := map[string]string{"a": "core", "b": "workers", "c": "workers", "gpu": "workers"}
	for node, stack := range stacks {
		files["nodes/"+node+".yaml"] = fmt.Sprintf("apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: %s}\nspec:\n  hostname: %s.example\n  stacks: [{name: %s}]\n", node, node, stack)
		files["stacks/"+stack+"/stack.yaml"] = fmt.Sprintf("apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: %s}\nspec: {}\n", stack)
		files["stacks/"+stack+"/compose.yaml"] = "services:\n  web: {image: example:1}\n"
	}
	maps.Copy(files, changes)
	return files
}

// targetsOf gives all nodes a revision.
func targetsOf(t testing.TB, l *lab, revision string) map[string]rollout.Target {
	t.Helper()
	tree, err := l.shelf.Tree(t.Context(), revision)
	must(t, err)
	digests, err := tree.Digests(t.Context())
	must(t, err)
	out := map[string]rollout.Target{}
	for node, digest := range digests {
		out[node] = rollout.Target{Revision: revision, Digest: digest}
	}
	return out
}
