package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync/atomic"
	"time"
)

// ServerIdentity is what a controller shows and whose certificates it accepts. It can be
// replaced while the port is open: the next handshake uses the new one.
type ServerIdentity struct{ current atomic.Pointer[tls.Config] }

// NewServerIdentity starts with a certificate, whose chain includes its authority, and
// the authorities of clients.
func NewServerIdentity(cert tls.Certificate, clients *x509.CertPool) *ServerIdentity {
	s := &ServerIdentity{}
	s.Replace(cert, clients)
	return s
}

// Replace takes effect with the next handshake.
func (s *ServerIdentity) Replace(cert tls.Certificate, clients *x509.CertPool) {
	s.current.Store(&tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientCAs:    clients,
		ClientAuth:   tls.VerifyClientCertIfGiven,
		// The order is the server's: who offers both gets HTTP/1.1.
		NextProtos: []string{protoHTTP1, protoHTTP2},
		// A resumed session would skip the verification of a certificate that has ended or
		// whose authority is no longer trusted. Agents connect once a day: nothing is lost.
		SessionTicketsDisabled: true,
	})
}

// Config is the configuration of a TLS server.
func (s *ServerIdentity) Config() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		NextProtos:             []string{protoHTTP1, protoHTTP2},
		GetConfigForClient:     func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.current.Load(), nil },
	}
}

// Issue makes a certificate for the server and says whose clients it accepts.
type Issue func() (tls.Certificate, *x509.CertPool, error)

// renewRetry is the pause after a certificate could not be renewed.
const renewRetry = time.Minute

// Keep replaces the certificate after two thirds of its lifetime, until ctx ends, and at
// once when the bell rings: the authority's files were changed. Errors go to report, and
// the old certificate stays.
func (s *ServerIdentity) Keep(ctx context.Context, bell <-chan struct{}, issue Issue, report func(error)) {
	for wait := s.renewIn(time.Now()); ; {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-bell:
			timer.Stop()
		case <-timer.C:
		}
		cert, clients, err := issue()
		if err != nil {
			report(fmt.Errorf("renew the controller's certificate: %w", err))
			wait = renewRetry
			continue
		}
		s.Replace(cert, clients)
		wait = s.renewIn(time.Now())
	}
}

func (s *ServerIdentity) renewIn(now time.Time) time.Duration {
	leaf := s.current.Load().Certificates[0].Leaf
	if leaf == nil {
		return renewRetry
	}
	return max(leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore)*2/3).Sub(now), 0)
}
