package controller

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/access"
	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/peers"
	"ktrdr.io/fleet/pkg/controller/repo"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/controller/web"
	"ktrdr.io/fleet/pkg/telemetry"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

const (
	// maxFleet is the size of the largest answer, the state of the whole fleet, in bytes.
	maxFleet = 128 << 20
	// grace is how long calls and requests may take to end at the end.
	grace = 5 * time.Second
	// sweepEvery is how often what is past its end is swept out of the store and trees that
	// nobody needs off the disk.
	sweepEvery = 10 * time.Minute
	// burst of work after which memory is given back, in bytes.
	burst = 64 << 20
	// readHeader bounds the headers of a request, idle a connection without one.
	readHeader = 10 * time.Second
	idle       = 2 * time.Minute
	maxHeader  = 16 << 10
)

// keepAudit is how much of the audit trail is kept.
func keepAudit() store.Retention {
	return store.Retention{Age: 2 * 365 * 24 * time.Hour, Count: 200_000}
}

// Run runs a controller until ctx ends, and ends it gracefully: agents run on and connect
// again. A ring at reload makes it read the authority's files anew.
func Run(ctx context.Context, cfg Config, reload <-chan struct{}, log *slog.Logger) error {
	c, err := open(ctx, cfg, log)
	if err != nil {
		return err
	}
	return errors.Join(c.run(ctx, reload), c.close())
}

func (c *Controller) run(ctx context.Context, reload <-chan struct{}) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", c.cfg.Listen, err)
	}
	return c.serve(ctx, listener, reload)
}

// serve closes the listener.
func (c *Controller) serve(ctx context.Context, listener net.Listener, reload <-chan struct{}) error {
	port := wire.NewPort(listener, c.identity, wire.DefaultPortLimits())
	rpc, site := c.grpcServer(), c.httpServer()

	// What serves outlives ctx: it is stopped in order.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	g, life := errgroup.WithContext(life)
	g.Go(func() error { return c.hub.Watch(life, c.store) })
	g.Go(func() error { return c.ledger.Watch(life, c.store) })
	if !c.learned(ctx) {
		end()
		return errors.Join(listener.Close(), g.Wait())
	}
	g.Go(func() error { return port.Serve(life) })
	g.Go(func() error {
		if err := rpc.Serve(port.GRPC()); !errors.Is(err, grpc.ErrServerStopped) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		if err := site.Serve(port.HTTP()); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error { return c.driver.Run(life) })
	g.Go(func() error { c.guard.Watch(life); return nil })
	if c.follower != nil {
		g.Go(func() error { return c.follow(life) })
	}
	g.Go(func() error {
		issue := func() (tls.Certificate, *x509.CertPool, error) { return c.issue(life) }
		c.identity.Keep(life, reload, issue, func(err error) { c.log.ErrorContext(life, "certificate is not renewed", "err", err) })
		return nil
	})
	g.Go(func() error { c.sweep(life); return nil })
	g.Go(func() error { telemetry.Trim(life, burst); return nil })
	c.serveBackups(life, g)
	if err := c.serveMetrics(life, g); err != nil {
		return errors.Join(err, c.stop(ctx, rpc, site), func() error { end(); return g.Wait() }())
	}
	c.log.InfoContext(ctx, "controller is up", "controller", c.id, "version", api.Version, "listen", listener.Addr().String())
	g.Go(func() error { return telemetry.Notify(ctx, func() error { return nil }) })

	select {
	case <-ctx.Done():
	case <-life.Done(): // something ended with an error
	}
	stopped := c.stop(ctx, rpc, site)
	end()
	return errors.Join(stopped, g.Wait())
}

// learnedSoon is how long it takes to read a store that answers, at most.
const learnedSoon = 5 * time.Second

// learned waits until all that the store had is known: whoever is answered before that would see
// a fleet without nodes, and scrape no targets. False when ctx ends first.
func (c *Controller) learned(ctx context.Context) bool {
	late := time.AfterFunc(learnedSoon, func() {
		c.log.WarnContext(ctx, "the store has not been read yet; nobody is served before that", "store", c.cfg.storeName())
	})
	defer late.Stop()
	for _, whole := range []<-chan struct{}{c.hub.Whole(), c.ledger.Whole()} {
		select {
		case <-whole:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// stop ends what serves: streams of agents first, then calls and requests.
func (c *Controller) stop(ctx context.Context, rpc *grpc.Server, site *http.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	c.hub.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		rpc.GracefulStop()
	}()
	err := site.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = site.Close()
	}
	select {
	case <-done:
	case <-ctx.Done():
		rpc.Stop() // watches of operators
	}
	<-done
	last, end := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer end()
	return errors.Join(err, c.hub.Wait(last))
}

func (c *Controller) grpcServer() *grpc.Server {
	options := append(wire.ServerOptions(), c.guard.ServerOptions()...)
	server := grpc.NewServer(append(options, grpc.MaxSendMsgSize(maxFleet))...)
	ktrdrv1.RegisterAgentServiceServer(server, c.hub)
	ktrdrv1.RegisterFleetServiceServer(server, c.fleet)
	ktrdrv1.RegisterControllerServiceServer(server, &peers.Server{Hub: c.hub, Shelf: c.shelf})
	ktrdrv1.RegisterNodeServiceServer(server, c.nodes())
	ktrdrv1.RegisterEnrollmentServiceServer(server, c.enroll)
	ktrdrv1.RegisterAccessServiceServer(server, c.enroll)
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	reflection.Register(server)
	return server
}

func (c *Controller) httpServer() *http.Server {
	cfg := web.Config{
		Guard:   c.guard,
		Targets: &web.Targets{Nodes: func() []hub.Node { return c.hub.News(0).Nodes }, Shelf: c.shelf, Log: c.log},
	}
	if c.hosted != nil {
		cfg.Git = c.hosted
	}
	if f := c.cfg.Repository.Follow; f != nil && f.WebhookSecretFile != "" {
		cfg.Hook = &web.Hook{SecretFile: f.WebhookSecretFile, Ring: c.follower.Ring}
		if err := cfg.Hook.Check(); err != nil {
			c.log.Error("webhooks are refused", "err", err)
		}
	}
	handler := web.Handler(cfg)
	return &http.Server{
		Handler: handler, ReadHeaderTimeout: readHeader, IdleTimeout: idle, MaxHeaderBytes: maxHeader,
		// What clients do wrong is theirs to see; the handlers log what concerns us.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
}

// authorize says who a git request is of: the guard has found that out.
func authorize(r *http.Request, _ bool) (repo.Who, error) {
	caller, ok := access.CallerFrom(r.Context())
	if !ok || !caller.Role.Allows(access.Viewer) {
		return repo.Who{}, repo.ErrUnauthenticated
	}
	return repo.Who{Name: caller.Name, Email: caller.Email}, nil
}

// serveMetrics answers on the loopback address.
func (c *Controller) serveMetrics(ctx context.Context, g *errgroup.Group) error {
	if c.cfg.Metrics == nil || *c.cfg.Metrics == "" {
		return nil
	}
	l, err := telemetry.ListenTCP(ctx, telemetry.TCP{Addr: *c.cfg.Metrics, AllowRemote: c.cfg.AllowRemote})
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", c.metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := c.store.Ping(r.Context()); err != nil {
			http.Error(w, "the store does not answer", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	g.Go(func() error { return telemetry.Serve(ctx, l, mux) })
	return nil
}

// sweep removes what is past its end.
func (c *Controller) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if c.leading.Load() {
			if _, err := c.store.Sweep(ctx, time.Now(), keepAudit()); err != nil {
				c.log.WarnContext(ctx, "store is not swept", "err", err)
			}
		}
		if err := c.repo.Prune(c.inUse()...); err != nil {
			c.log.WarnContext(ctx, "trees are not pruned", "err", err)
		}
	}
}

// inUse are revisions whose trees have to stay.
func (c *Controller) inUse() []string {
	keep := append(c.shelf.Revisions(), c.fleet.InUse()...)
	keep = append(keep, c.ledger.Head().Revision)
	if newest, ok := c.ledger.Newest(); ok {
		for _, target := range newest.Record.Targets {
			keep = append(keep, target.Revision)
		}
	}
	return keep
}
