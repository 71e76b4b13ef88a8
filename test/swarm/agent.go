package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"time"

	"google.golang.org/grpc"

	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// agent is one simulated node.
type agent struct {
	*swarm
	node    string
	from    netip.Addr
	conn    *grpc.ClientConn
	stream  grpc.BidiStreamingClient[ktrdrv1.AgentMessage, ktrdrv1.ControllerMessage]
	have    map[[32]byte]bool
	slice   *ktrdrv1.Slice
	missing map[[32]byte]bool
	seq     uint64
}

// live joins and keeps a stream until ctx ends; a lost one is opened again.
func (s *swarm) live(ctx context.Context, number int, text string) error {
	token, err := pki.ParseJoinToken(text)
	if err != nil {
		return err
	}
	a := &agent{swarm: s, node: token.Node, from: addressOf(number), have: map[[32]byte]bool{}}
	config, err := a.join(ctx, token)
	if err != nil {
		return fmt.Errorf("join %s: %w", a.node, err)
	}
	s.tell(news{Kind: "joined", Node: a.node})
	if a.conn, err = a.dial(config); err != nil {
		return err
	}
	defer a.conn.Close() //nolint:errcheck // the process ends
	for ctx.Err() == nil {
		err := a.serve(ctx)
		if ctx.Err() != nil {
			break
		}
		s.tell(news{Kind: "lost", Node: a.node, Message: err.Error()})
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return ctx.Err()
}

// dial connects as agents do, from the agent's own address.
func (a *agent) dial(config *tls.Config) (*grpc.ClientConn, error) {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(a.from, 0)), Timeout: 20 * time.Second}
	return wire.Dial(wire.Client{Target: a.target, TLS: func() (*tls.Config, error) { return config, nil }, Options: []grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}),
		grpc.WithReadBufferSize(0), // there are a thousand of them in this process
	}})
}

// join redeems the token for a certificate, which stays in memory.
func (a *agent) join(ctx context.Context, token pki.JoinToken) (*tls.Config, error) {
	select {
	case a.joining <- struct{}{}:
		defer func() { <-a.joining }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(a.target)
	if err != nil {
		return nil, err
	}
	conn, err := a.dial(pki.TLSForJoin(token, host))
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // one call was made
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	got, err := ktrdrv1.NewEnrollmentServiceClient(conn).Join(ctx, &ktrdrv1.JoinRequest{JoinToken: token.Text(), Csr: csr, Version: "swarm"})
	if err != nil {
		return nil, err
	}
	authorities, err := x509.ParseCertificates(got.GetAuthority())
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range authorities {
		pool.AddCert(c)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: host,
		Certificates: []tls.Certificate{{Certificate: got.GetChain(), PrivateKey: key}},
	}, nil
}
