package uplink_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"ktrdr.io/fleet/pkg/agent/uplink"
	"ktrdr.io/fleet/pkg/agent/uplink/uplinktest"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
)

// renewing runs a Renewal until the test ends.
type renewing struct {
	store            *pki.KeyStore
	refused, allowed chan struct{}
	renewed          chan struct{}

	mu        sync.Mutex
	condition *api.Condition
}

func renew(t *testing.T, c *uplinktest.Controller, dir, node string) *renewing {
	t.Helper()
	store, err := pki.OpenKeyStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := &renewing{store: store, refused: make(chan struct{}, 1), allowed: make(chan struct{}, 1), renewed: make(chan struct{}, 100)}
	renewal := &uplink.Renewal{
		Store: func() (*pki.KeyStore, error) { return store, nil }, Node: node, Endpoints: func() []string { return []string{c.Addr} },
		Dial: func(endpoint string) (*grpc.ClientConn, error) {
			return wire.Dial(wire.Client{Target: endpoint, TLS: func() (*tls.Config, error) {
				credentials, err := store.Load()
				if err != nil {
					return nil, err
				}
				return wire.ClientTLS(credentials), nil
			}})
		},
		Report: func(c *api.Condition) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.condition = c
		},
		Renewed: func() { r.renewed <- struct{}{} }, Refused: r.refused, Accepted: r.allowed, Retry: 50 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = renewal.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return r
}

// reason is that of the condition; empty when all is well.
func (r *renewing) reason() api.Reason {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.condition == nil {
		return ""
	}
	return r.condition.Reason
}

// due is the lifetime of a certificate that is to be renewed at once, and that somebody has to
// mend soon if it can't be: it begins some minutes before it was made.
const due = 40 * time.Second

func (r *renewing) install(t *testing.T, c *uplinktest.Controller, lifetime time.Duration) {
	t.Helper()
	csr, err := r.store.Request()
	if err != nil {
		t.Fatal(err)
	}
	issued, err := c.Authority.WithLifetime(lifetime).IssueNode("b", csr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.store.Install(pki.Grant{Kind: pki.Node, Name: "b", Chain: issued.Chain, Authorities: c.Authority.BundleDER()}); err != nil {
		t.Fatal(err)
	}
}

func TestCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	c.Authority = c.Authority.WithLifetime(due)
	dir := filepath.Join(t.TempDir(), "keys")
	first := c.Enroll(t, dir, "b")
	r := renew(t, c, dir, "b")
	for range 2 {
		<-r.renewed
	}
	now, err := r.store.Load()
	if err != nil || now.Identity.Serial == first.Identity.Serial || now.Identity.Name != "b" || now.NotAfter().Before(first.NotAfter()) {
		t.Errorf("after two renewals %+v until %s, %v; before until %s", now.Identity, now.NotAfter(), err, first.NotAfter())
	}
	if got := r.reason(); got != "" {
		t.Errorf("condition %s", got)
	}
}

func TestCertificateThatCannotBeRenewed(t *testing.T) {
	t.Parallel()
	for lifetime, want := range map[time.Duration]api.Reason{due: api.ReasonCertificateExpiring, 100 * time.Millisecond: api.ReasonCertificateRejected} {
		t.Run(string(want), func(t *testing.T) {
			t.Parallel()
			c := uplinktest.Start(t)
			c.Down()
			c.Authority = c.Authority.WithLifetime(lifetime)
			dir := filepath.Join(t.TempDir(), "keys")
			c.Enroll(t, dir, "b")
			r := renew(t, c, dir, "b")
			await(t, string(want), func() bool { return r.reason() == want })
			if want == api.ReasonCertificateExpiring {
				return
			}
			// Joining anew mends it without a restart.
			r.install(t, c, time.Hour)
			await(t, "all well", func() bool { return r.reason() == "" })
		})
	}
}

func TestRefusedAndForeignCertificates(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	dir := filepath.Join(t.TempDir(), "keys")
	c.Enroll(t, dir, "b")
	r := renew(t, c, dir, "b")
	await(t, "all well", func() bool { return r.reason() == "" })
	r.refused <- struct{}{}
	await(t, "refusal", func() bool { return r.reason() == api.ReasonCertificateRejected })
	r.allowed <- struct{}{}
	await(t, "all well again", func() bool { return r.reason() == "" })

	other := renew(t, c, dir, "c")
	await(t, "the wrong node", func() bool { return other.reason() == api.ReasonCertificateRejected })
	other.mu.Lock()
	defer other.mu.Unlock()
	if !strings.Contains(other.condition.Message, "ktrdr://node/b") || !strings.Contains(other.condition.Message, "ktrdr-agent join") {
		t.Errorf("message %q", other.condition.Message)
	}
}

// TestNewCertificateIsShown: a renewal ends the stream, and the next one has the new certificate.
func TestNewCertificateIsShown(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	n := run(t, c, options{timing: uplink.Timing{RetryFirst: time.Hour, RetryLast: time.Hour}})
	c.AwaitConnected(t, true)
	n.link.Reconnect() // maybe before the node knows that it is connected
	c.AwaitStreams(t, 2)
	await(t, "the connection", func() bool { return n.link.State().Connected })
	n.link.Reconnect()
	c.AwaitStreams(t, 3)
	if err := n.link.State().LastError; err != "" && !strings.Contains(err, "renewed") {
		t.Errorf("last error %q", err)
	}
}
