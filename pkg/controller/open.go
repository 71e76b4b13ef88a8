package controller

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/access"
	"ktrdr.io/fleet/pkg/controller/enroll"
	"ktrdr.io/fleet/pkg/controller/fleet"
	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/peers"
	"ktrdr.io/fleet/pkg/controller/repo"
	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/telemetry"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
)

// Controller is the open controller.
type Controller struct {
	cfg     Config
	log     *slog.Logger
	id      string
	started time.Time
	leading atomic.Bool

	authority atomic.Pointer[pki.Authority]
	identity  *wire.ServerIdentity
	// peer is how this controller shows itself to the others.
	peer     atomic.Pointer[tls.Config]
	store    *store.Store
	session  *store.Session
	guard    *access.Guard
	repo     repository
	hosted   *repo.Hosted // nil when a remote repository is followed
	follower *follower    // nil when the repository is hosted
	shelf    *slicing.Shelf
	hub      *hub.Hub
	ledger   *fleet.Ledger
	driver   *fleet.Driver
	gate     *fleet.Gate
	fleet    *fleet.Service
	enroll   *enroll.Service
	metrics  *telemetry.ControllerMetrics

	closers []func() error
}

// repository is what both kinds have.
type repository interface {
	fleet.Repository
	Prune(keep ...string) error
	Close() error
}

// open opens everything in the order in which one thing needs the other. After an error what
// was opened is closed.
func open(ctx context.Context, cfg Config, log *slog.Logger) (*Controller, error) {
	c := &Controller{cfg: cfg, log: log, started: time.Now()}
	if err := c.open(ctx); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

func (c *Controller) open(ctx context.Context) (err error) {
	if err := prepareState(&c.cfg); err != nil {
		return err
	}
	if c.id, err = c.cfg.id(); err != nil {
		return err
	}
	if err := desired.Prepare(); err != nil {
		return err
	}
	if err := c.openIdentity(ctx); err != nil {
		return err
	}
	if err := c.openStore(ctx); err != nil {
		return err
	}
	directory := enroll.NewDirectory(c.store, c.log)
	c.guard = access.New(access.Config{Directory: directory, Trail: directory, Log: c.log})
	c.ledger = fleet.NewLedger(c.log)
	c.metrics = telemetry.NewControllerMetrics(telemetry.Build{Version: api.Version, Commit: api.Commit}, c.state)
	c.gate = &fleet.Gate{Store: c.store, Ledger: c.ledger, Log: c.log, Changed: c.metrics.Changed}
	if err := c.openRepository(ctx); err != nil {
		return err
	}
	c.shelf = slicing.NewShelf(c.repo)
	c.onClose(c.shelf.Close)
	c.gate.Shelf = c.shelf
	return c.openFleet()
}

func (c *Controller) onClose(closer func() error) { c.closers = append(c.closers, closer) }

// close closes in reverse order.
func (c *Controller) close() error {
	var errs []error
	for _, closer := range slices.Backward(c.closers) {
		errs = append(errs, closer())
	}
	c.closers = nil
	return errors.Join(errs...)
}

func (c *Controller) openStore(ctx context.Context) error {
	cfg := c.cfg.store()
	cfg.Logger = c.log
	var err error
	if c.store, err = store.Open(ctx, cfg); err != nil {
		return err
	}
	c.onClose(c.store.Close)
	if err := agree(ctx, c.store, c.authority.Load(), c.id); err != nil {
		return err
	}
	names, ips, err := c.cfg.reachable()
	if err != nil {
		return err
	}
	c.session, err = c.store.OpenSession(ctx, store.Controller{
		ID: c.id, Address: c.cfg.address(names, ips), StartedAt: c.started.UTC(), Version: api.Version,
	})
	if err != nil {
		return err
	}
	c.onClose(c.session.Close)
	return nil
}

// head is the accepted one; "" before the first.
func (c *Controller) head(ctx context.Context) (string, error) {
	head, err := c.store.Head(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return head.Revision, err
}

func (c *Controller) openRepository(ctx context.Context) error {
	if follow := c.cfg.Repository.Follow; follow != nil {
		if err := c.openFollowed(ctx, follow); err != nil {
			return err
		}
		c.onClose(c.repo.Close)
		return nil
	}
	hosted := c.cfg.Repository.Hosted
	if hosted == nil {
		hosted = &HostedConfig{}
	}
	var err error
	c.hosted, err = repo.OpenHosted(ctx, repo.HostedConfig{
		Dir: filepath.Join(c.cfg.StateDir, "repository"), Branch: hosted.Branch, AllowForce: hosted.AllowForce,
		Gate: c.gate, Head: c.head, Authorize: authorize, Logger: c.log,
	})
	if err != nil {
		return err
	}
	c.repo = c.hosted
	c.onClose(c.repo.Close)
	return nil
}

// look asks a followed repository now; nil for a hosted one.
func (c *Controller) look() func(context.Context) error {
	if c.follower == nil {
		return nil
	}
	return c.follower.look
}

// isRefusal tells that the gate said no.
func isRefusal(err error) bool {
	_, ok := errors.AsType[*repo.Refusal](err)
	return ok
}

func (c *Controller) openFleet() error {
	names, ips, err := c.cfg.reachable()
	if err != nil {
		return err
	}
	endpoints := c.cfg.endpoints(names, ips)
	others := &peers.Client{Address: c.address, TLS: func() (*tls.Config, error) { return c.peer.Load(), nil }}
	c.onClose(others.Close)
	c.hub, err = hub.New(hub.Config{
		Controller: c.id, Version: api.Version, Epoch: c.session.Epoch(), Endpoints: endpoints, Shelf: c.shelf, Memory: c.session,
		Caller: callingNode, Newest: c.store.NewestRollout, Forward: others.Forward, SliceSent: c.metrics.SliceSent, Log: c.log,
	})
	if err != nil {
		return err
	}
	c.driver = &fleet.Driver{
		Store: c.store, Session: c.session, Hub: c.hub, Shelf: c.shelf, Ledger: c.ledger, Log: c.log,
		Leading: c.leading.Store, Ended: c.metrics.RolloutEnded,
	}
	c.fleet = fleet.New(fleet.Config{
		Version: api.Version, Store: c.store, Hub: c.hub, Shelf: c.shelf, Ledger: c.ledger, Driver: c.driver,
		Gate: c.gate, Repo: c.repo, Look: c.look(), Others: neighbours{others, c}, Problems: c.problems, Log: c.log,
	})
	c.enroll = enroll.New(enroll.Config{Store: c.store, Authority: c.authority.Load, Endpoints: endpoints, Recheck: c.guard.Recheck, Log: c.log})
	return nil
}

// callingNode is the node whose certificate the guard has found good.
func callingNode(ctx context.Context) (string, error) {
	caller, ok := access.CallerFrom(ctx)
	if !ok || caller.Role != access.Node {
		return "", status.Error(codes.PermissionDenied, "only a node connects here, with its certificate")
	}
	return caller.Name, nil
}
