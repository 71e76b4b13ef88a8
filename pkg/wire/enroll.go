package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc"

	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Enrollment is what a node needs for its first certificate.
type Enrollment struct {
	// Target is the controller as host:port.
	Target string
	Token  pki.JoinToken
	Store  *pki.KeyStore
	// Version of the agent and host name of the machine, for the audit trail.
	Version, Hostname string
}

// Join redeems a join token at the controller that the token pins, and keeps the
// certificate in the store. It returns the controllers that may be used from now on as
// well. Called again after a crash or a lost answer it asks with the same key, which a
// controller answers while the token is good.
func Join(ctx context.Context, e Enrollment) (*pki.Credentials, []string, error) {
	host, _, err := net.SplitHostPort(e.Target)
	if err != nil {
		return nil, nil, fmt.Errorf("join at %q: write host:port: %w", e.Target, err)
	}
	csr, err := e.Store.Request()
	if err != nil {
		return nil, nil, fmt.Errorf("join at %s: %w", e.Target, err)
	}
	conn, err := Dial(Client{Target: e.Target, TLS: func() (*tls.Config, error) { return pki.TLSForJoin(e.Token, host), nil }})
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = conn.Close() }()
	answer, err := ktrdrv1.NewEnrollmentServiceClient(conn).Join(ctx, &ktrdrv1.JoinRequest{
		JoinToken: e.Token.Text(), Csr: csr, Version: e.Version, Hostname: e.Hostname,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("join at %s with token %s: %w", e.Target, e.Token.ID, err)
	}
	if err := e.Token.CheckBundle(answer.GetAuthority()); err != nil {
		return nil, nil, fmt.Errorf("join at %s: %w", e.Target, err)
	}
	c, err := e.Store.Install(pki.Grant{
		Kind: pki.Node, Name: e.Token.Node, Chain: answer.GetChain(), Authorities: answer.GetAuthority(),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("join at %s: %w", e.Target, err)
	}
	return c, answer.GetEndpoints(), nil
}

// Renew asks for the next certificate over a connection that shows the current one, and
// keeps it in the store. The current one is good until the next was used first.
func Renew(ctx context.Context, conn grpc.ClientConnInterface, store *pki.KeyStore) (*pki.Credentials, []string, error) {
	current, err := store.Load()
	if err != nil {
		return nil, nil, fmt.Errorf("renew certificate: %w", err)
	}
	if current.Identity.Kind != pki.Node {
		return nil, nil, errors.New("renew certificate: only nodes renew theirs")
	}
	csr, err := store.Request()
	if err != nil {
		return nil, nil, fmt.Errorf("renew certificate: %w", err)
	}
	answer, err := ktrdrv1.NewEnrollmentServiceClient(conn).Renew(ctx, &ktrdrv1.RenewRequest{Csr: csr})
	if err != nil {
		return nil, nil, fmt.Errorf("renew certificate: %w", err)
	}
	c, err := store.Install(pki.Grant{
		Kind: current.Identity.Kind, Name: current.Identity.Name, Chain: answer.GetChain(), Authorities: answer.GetAuthority(),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("renew certificate: %w", err)
	}
	return c, answer.GetEndpoints(), nil
}
