package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Config says whom to call and as whom.
type Config struct {
	// Addresses are host:port of the fleet's controllers, asked in their order until one answers.
	Addresses []string
	// Authority, Certificate and Key are PEM; a certificate or a token is enough.
	Authority, Certificate, Key []byte
	Token                       string
	// Options are added to those of the connection and win over them; for tests.
	Options []grpc.DialOption
}

// maxFleet bounds the state of a fleet, in bytes: 1,000 nodes of 20 services are about
// 20 MiB.
const maxFleet = 128 << 20

// Large is for calls that answer with the state of the whole fleet.
func Large() grpc.CallOption { return grpc.MaxCallRecvMsgSize(maxFleet) }

// Conn is a connection to a controller. It is safe for concurrent use.
type Conn struct {
	Fleet  ktrdrv1.FleetServiceClient
	Nodes  ktrdrv1.NodeServiceClient
	Access ktrdrv1.AccessServiceClient

	addresses []string
	tls       *tls.Config
	grpc      *grpc.ClientConn
}

// Dial prepares the connection; it is made with the first call. A certificate that has
// ended is an error right away.
func Dial(cfg Config) (*Conn, error) {
	conf, err := tlsConfig(cfg, time.Now())
	if err != nil {
		return nil, err
	}
	c := &Conn{addresses: cfg.Addresses, tls: conf}
	c.grpc, err = wire.Dial(wire.Client{
		Target: cfg.Addresses[0], Others: cfg.Addresses[1:], Token: cfg.Token, TLS: func() (*tls.Config, error) { return conf, nil },
		Options: append([]grpc.DialOption{wire.Attentive(), grpc.WithUnaryInterceptor(markUnsent)}, cfg.Options...),
	})
	if err != nil {
		return nil, err
	}
	c.Fleet = ktrdrv1.NewFleetServiceClient(c.grpc)
	c.Nodes = ktrdrv1.NewNodeServiceClient(c.grpc)
	c.Access = ktrdrv1.NewAccessServiceClient(c.grpc)
	return c, nil
}

// unsentError is the error of a call for which there was no connection.
type unsentError struct{ error }

// Unwrap gives gRPC's error.
func (e unsentError) Unwrap() error { return e.error }

// markUnsent tells calls that the controller can't have got from those whose answer is lost.
func markUnsent(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error { //nolint:revive // the signature is gRPC's
	var at peer.Peer // of the stream, as soon as there was one
	err := invoke(ctx, method, req, reply, conn, append(opts, grpc.Peer(&at))...)
	if err != nil && at.Addr == nil {
		return unsentError{err}
	}
	return err
}

// Close ends the connection and all calls.
func (c *Conn) Close() { _ = c.grpc.Close() }

// Address is the controller's host:port; of several all, as a text.
func (c *Conn) Address() string { return strings.Join(c.addresses, ", ") }

func tlsConfig(cfg Config, now time.Time) (*tls.Config, error) {
	if len(cfg.Addresses) == 0 {
		return nil, errors.New("controller: write host:port")
	}
	for _, each := range cfg.Addresses {
		if _, _, err := net.SplitHostPort(each); err != nil {
			return nil, fmt.Errorf("controller %q: write host:port", each)
		}
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(cfg.Authority) {
		return nil, errors.New("the fleet's authority is no certificate in PEM: take the one that `ktrdr-controller init` wrote")
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots} // the name is that of the address that is dialled
	if len(cfg.Certificate) == 0 {
		return conf, nil
	}
	cert, err := tls.X509KeyPair(cfg.Certificate, cfg.Key)
	if err != nil {
		// Errors of the key could quote it.
		return nil, errors.New("certificate and key of the context are damaged or don't belong together")
	}
	if now.After(cert.Leaf.NotAfter) {
		return nil, &ExpiredError{Ended: cert.Leaf.NotAfter, Now: now}
	}
	// Always, even to who asks for certificates of others: that is how the controller can say
	// that it does not accept this one.
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	return conf, nil
}
