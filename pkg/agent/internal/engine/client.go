package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"

	"ktrdr.io/fleet/pkg/api"
)

// MinAPIVersion is the oldest Engine API that is spoken (Engine 20.10).
const MinAPIVersion = "1.41"

// Client speaks to one engine. Its methods are one call of the engine each (Create may
// be several on old engines), safe for concurrent use, and bounded in time. All of them
// are idempotent: removing what is gone, starting what runs and the like succeed.
// Errors are *Error.
type Client struct {
	cfg       Config
	transport *transport
	http      *http.Client
	// current is the negotiated session; nil means that the next call negotiates.
	current atomic.Pointer[session]
	// negotiating is held while a session is made, so that a hung engine is asked once.
	negotiating chan struct{}
}

// session is a client fixed to the API version that was negotiated with the engine.
type session struct {
	of  *Client
	cli *client.Client
	// version is spoken; offered is what the engine said that it can speak.
	version, offered string
	swarm            bool
}

// New returns a client. It makes no call: the engine may be down.
func New(cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("engine configuration: %w", err)
	}
	network, address, err := splitHost(cfg.Host)
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg:         cfg,
		transport:   newTransport(network, address, cfg.MaxBody),
		negotiating: make(chan struct{}, 1),
	}
	c.transport.sawVersion = c.sawVersion
	c.http = &http.Client{Transport: c.transport, CheckRedirect: client.CheckRedirect}
	return c, nil
}

// Close closes idle connections. Calls under way are not interrupted.
func (c *Client) Close() { c.transport.base.CloseIdleConnections() }

// sawVersion forgets the session when the engine speaks another version than it was
// negotiated with: it was upgraded or downgraded under us.
func (c *Client) sawVersion(version string) {
	if s := c.current.Load(); s != nil && s.offered != version {
		c.current.CompareAndSwap(s, nil)
	}
}

// session returns the present session or negotiates one, within Config.Query even where
// the call itself has no limit.
func (c *Client) session(ctx context.Context) (*session, error) {
	if s := c.current.Load(); s != nil {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Query)
	defer cancel()
	select {
	case c.negotiating <- struct{}{}:
		defer func() { <-c.negotiating }()
	case <-ctx.Done():
		return nil, context.Cause(ctx) // a pull without progress has run out of time
	}
	if s := c.current.Load(); s != nil {
		return s, nil
	}
	s, err := c.negotiate(ctx)
	if err != nil {
		return nil, err
	}
	c.current.Store(s)
	return s, nil
}

func (c *Client) negotiate(ctx context.Context) (*session, error) {
	cli, err := client.New(client.WithHTTPClient(c.http), client.WithScheme("http"))
	if err != nil {
		return nil, err
	}
	ping, err := cli.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	if err != nil {
		return nil, err
	}
	if ping.APIVersion == "" {
		return nil, errors.New("what answers is no container engine: no Api-Version header")
	}
	if versions.LessThan(cli.ClientVersion(), MinAPIVersion) {
		return nil, &unsupportedError{attribute: "the engine", needs: MinAPIVersion, has: ping.APIVersion}
	}
	return &session{of: c, cli: cli, version: cli.ClientVersion(), offered: ping.APIVersion, swarm: ping.SwarmStatus != nil}, nil
}

// atLeast tells whether the session speaks an API version.
func (s *session) atLeast(version string) bool { return !versions.LessThan(s.version, version) }

// call is what an operation is and how long it may take.
type call struct {
	op, object string
	// limit of zero leaves the bound to the caller's context.
	limit time.Duration
	// secrets are cut out of the engine's error text.
	secrets []string
}

// do runs one operation within its time limit and names its failure.
func (c *Client) do(ctx context.Context, what call, run func(context.Context, *session) error) error {
	limited, cancel := ctx, context.CancelFunc(func() {})
	if what.limit > 0 {
		limited, cancel = context.WithTimeout(ctx, what.limit)
	}
	defer cancel()
	err := c.attempt(limited, run)
	if err != nil && isVersionMismatch(err) && limited.Err() == nil {
		// The engine was replaced by an older one between two calls: nothing was done yet.
		c.current.Store(nil)
		err = c.attempt(limited, run)
	}
	return c.fail(limited, what, err)
}

func (c *Client) attempt(ctx context.Context, run func(context.Context, *session) error) error {
	s, err := c.session(ctx)
	if err != nil {
		return err
	}
	return run(ctx, s)
}

// isVersionMismatch recognises an engine that refuses the API version of the URL.
func isVersionMismatch(err error) bool {
	text := err.Error()
	return strings.Contains(text, "client version ") && (strings.Contains(text, "is too new") || strings.Contains(text, "is too old"))
}

// Ping asks the engine whether it is there, which costs it nothing. A hung engine gives
// ErrTimeout. Engine API: HEAD /_ping.
func (c *Client) Ping(ctx context.Context) error {
	return c.do(ctx, call{op: "ping engine", object: c.cfg.Host, limit: c.cfg.Query}, func(ctx context.Context, s *session) error {
		_, err := s.cli.Ping(ctx, client.PingOptions{})
		return err
	})
}

// Info tells about the engine. Reachable is true when it answered.
func (c *Client) Info(ctx context.Context) (api.Engine, error) {
	var engine api.Engine
	err := c.do(ctx, call{op: "inspect engine", object: c.cfg.Host, limit: c.cfg.Query}, func(ctx context.Context, s *session) error {
		info, err := s.cli.Info(ctx, client.InfoOptions{})
		if err != nil {
			return err
		}
		engine = api.Engine{
			Reachable: true, Version: info.Info.ServerVersion,
			APIVersion: s.version, Driver: info.Info.Driver,
		}
		return nil
	})
	return engine, err
}
