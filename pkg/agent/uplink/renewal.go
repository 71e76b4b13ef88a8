package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
)

// Renewal keeps the node's certificate from ending.
type Renewal struct {
	// Store opens the node's credentials. Required.
	Store func() (*pki.KeyStore, error)
	// Node is whose certificate is expected in it. Required.
	Node string
	// Dial connects to a controller with the certificate in Store. Required.
	Dial Dialer
	// Endpoints are the controllers to ask. Required.
	Endpoints func() []string
	// Report gets the condition of the certificate; nil when all is well. Required.
	Report func(*api.Condition)
	// Renewed is called after the certificate was replaced. Required.
	Renewed func()
	// Refused rings when a controller did not accept the certificate; nil: never.
	Refused <-chan struct{}
	// Accepted rings when one did; nil: never.
	Accepted <-chan struct{}
	Log      *slog.Logger
	// Retry is the pause after a failure, half to one and a half of it. Default 1 min.
	Retry time.Duration
}

const (
	// lookEvery is how often the certificate is looked at without a cause: a person may
	// have replaced it, or set the clock.
	lookEvery = 10 * time.Minute
	// renewLimit bounds one attempt.
	renewLimit = 30 * time.Second
)

// Run renews the certificate after two thirds of its lifetime, until ctx ends.
func (r *Renewal) Run(ctx context.Context) error {
	if r.Retry <= 0 {
		r.Retry = time.Minute
	}
	refused, seen := false, ""
	for ctx.Err() == nil {
		c, err := r.load()
		if err == nil && c.Identity.Serial != seen {
			refused, seen = false, c.Identity.Serial
		}
		wait := lookEvery
		switch {
		case err != nil:
			r.Report(rejected("the certificate of this node can't be used: " + err.Error()))
			wait = r.Retry
		case !time.Now().Before(c.NotAfter()):
			r.Report(rejected("the certificate of this node ended " + c.NotAfter().UTC().Format(time.RFC3339)))
			wait = r.Retry
		case refused:
			r.Report(rejected("the controller does not accept the certificate of this node: it was revoked, or the node was removed or joined anew elsewhere"))
		case !time.Now().Before(c.NextRenewal()):
			wait = r.renew(ctx, c)
		default:
			r.Report(nil)
			wait = min(wait, time.Until(c.NextRenewal()))
		}
		refused = r.wait(ctx, wait, refused)
	}
	return nil
}

func (r *Renewal) load() (*pki.Credentials, error) {
	store, err := r.Store()
	if err != nil {
		return nil, err
	}
	c, err := store.Load()
	if err != nil {
		return nil, err
	}
	if c.Identity.Kind != pki.Node || c.Identity.Name != r.Node {
		return nil, fmt.Errorf("it is the one of %s, and this is node %s", c.Identity, r.Node)
	}
	return c, nil
}

// wait returns early when a controller refused or accepted the certificate. It returns
// whether it is refused now.
func (r *Renewal) wait(ctx context.Context, d time.Duration, refused bool) bool { //nolint:revive // what is returned when nothing happens
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-r.Refused:
			if refused {
				continue // known already
			}
			return true
		case <-r.Accepted:
			if !refused {
				continue
			}
			return false
		}
		return refused
	}
}

// renew asks one controller after the other. It returns the pause before the next look.
func (r *Renewal) renew(ctx context.Context, c *pki.Credentials) time.Duration {
	var errs []error
	for _, endpoint := range r.Endpoints() {
		err := r.ask(ctx, endpoint)
		if err == nil {
			r.Log.InfoContext(ctx, "certificate renewed", "endpoint", endpoint)
			r.Report(nil)
			r.Renewed()
			return r.Retry // not at once: one with a short life would be renewed all the time
		}
		if ctx.Err() != nil {
			return 0
		}
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	r.Log.WarnContext(ctx, "certificate not renewed", "ends", c.NotAfter(), "err", err)
	// One failed attempt is nobody's business; half of the time that was left is gone is.
	if left := time.Until(c.NotAfter()); left < c.NotAfter().Sub(c.NextRenewal())/2 {
		r.Report(&api.Condition{
			Type: api.ConditionWarning, Status: true, Reason: api.ReasonCertificateExpiring,
			Message: fmt.Sprintf("the certificate of this node ends %s and can't be renewed; mend the connection to the controller: %s",
				c.NotAfter().UTC().Format(time.RFC3339), err),
		})
	}
	return r.Retry/2 + rand.N(r.Retry) //nolint:gosec // no secret
}

func (r *Renewal) ask(ctx context.Context, endpoint string) error {
	ctx, cancel := context.WithTimeout(ctx, renewLimit)
	defer cancel()
	store, err := r.Store()
	if err != nil {
		return err
	}
	conn, err := r.Dial(endpoint)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, _, err = wire.Renew(ctx, conn, store)
	return err
}

func rejected(why string) *api.Condition {
	return &api.Condition{
		Type: api.ConditionDegraded, Status: true, Reason: api.ReasonCertificateRejected,
		Message: why + "; containers run on, repairs go on, changes don't come: ask for a join token (ktrdrctl node join-token) and run ktrdr-agent join",
	}
}
