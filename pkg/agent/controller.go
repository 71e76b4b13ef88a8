package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/agent/uplink"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
)

// A dead link is noticed after pingAfter and pingTimeout together. Controllers allow a
// ping every ten seconds.
const (
	pingAfter   = 12 * time.Second
	pingTimeout = 8 * time.Second
)

// wireLink connects the agent to its controller, when it has one.
func (a *Agent) wireLink() error {
	src, ok := a.follow.src.(*source.Stream)
	if !ok {
		return nil
	}
	refused, accepted := make(chan struct{}, 1), make(chan struct{}, 1)
	var err error
	a.link, err = uplink.New(uplink.Config{
		Endpoints: a.cfg.Source.Controller.Endpoints, Dial: a.dialController, Source: src,
		Report: a.report, Backend: linkBackend{a}, Logs: a.containerLogs(), Doctor: linkDoctor{a},
		Redact: a.secrets.Redact, Log: a.log.With("component", "controller"),
		Changed: func(l api.Link) {
			a.report.SetLink(l)
			if l.Connected {
				ring(accepted)
			}
		},
		Failed: func(err error) {
			if errors.Is(err, uplink.ErrRefused) {
				ring(refused)
			}
		},
	})
	if err != nil {
		return err
	}
	a.report.SetLink(a.link.State())
	a.renewal = &uplink.Renewal{
		Store: a.keyStore, Node: a.cfg.Node, Dial: a.dialController, Endpoints: a.link.Endpoints,
		Report:  func(c *api.Condition) { a.report.SetNodeCondition("certificate", c) },
		Renewed: a.link.Reconnect, Refused: refused, Accepted: accepted, Log: a.log.With("component", "certificate"),
	}
	return nil
}

// dialController shows the certificate that is in the folder now: a person may have
// replaced it.
func (a *Agent) dialController(endpoint string) (*grpc.ClientConn, error) {
	return wire.Dial(wire.Client{
		Target: endpoint,
		TLS: func() (*tls.Config, error) {
			store, err := a.keyStore()
			if err != nil {
				return nil, err
			}
			c, err := store.Load()
			if err != nil {
				return nil, err
			}
			return wire.ClientTLS(c), nil
		},
		Options: []grpc.DialOption{
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout}),
		},
	})
}

// keyStore opens the folder of the credentials once that is possible. It is opened by one
// process only, and once.
func (a *Agent) keyStore() (*pki.KeyStore, error) {
	a.keys.Lock()
	defer a.keys.Unlock()
	if a.keys.store != nil {
		return a.keys.store, nil
	}
	store, err := pki.OpenKeyStore(a.cfg.credentialsDir())
	a.keys.store = store
	return store, err
}

// connect keeps the link to the controller.
func (a *Agent) connect(ctx context.Context) error {
	if a.link == nil {
		return nil
	}
	return a.link.Run(ctx)
}

// renew keeps the node's certificate from ending.
func (a *Agent) renew(ctx context.Context) error {
	if a.renewal == nil {
		return nil
	}
	return a.renewal.Run(ctx)
}

// linkBackend is what commands of a controller ask of the agent.
type linkBackend struct{ a *Agent }

// Sync implements uplink.Backend.
func (b linkBackend) Sync(ctx context.Context) error { return backend(b).Sync(ctx) }

// Hold implements uplink.Backend.
func (b linkBackend) Hold(stack string, h *api.Hold) error { return backend(b).Hold(stack, h) }

// PlanTree implements uplink.Backend.
func (b linkBackend) PlanTree(ctx context.Context, dir string) ([]*plan.Plan, error) {
	return backend(b).PlanTree(ctx, dir)
}

// Plans implements uplink.Backend.
func (b linkBackend) Plans() []*plan.Plan { return b.a.report.Plans() }

// Secrets implements uplink.Backend.
func (b linkBackend) Secrets() api.SecretsStatus { return b.a.secretsStatus() }

// linkDoctor checks the node for a controller.
type linkDoctor struct{ a *Agent }

// Check implements uplink.Doctor.
func (d linkDoctor) Check(ctx context.Context, req uplink.DoctorRequest, emit func(api.Check)) error {
	return backend(d).Doctor(ctx, report.DoctorRequest{Dir: req.Dir, Canary: req.Canary}, emit)
}
