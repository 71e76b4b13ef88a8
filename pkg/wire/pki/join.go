package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// maxChain is how many certificates of a peer are looked at.
const maxChain = 10

// TLSForJoin returns the configuration of a client that has nothing but a join token yet:
// it accepts a controller whose chain, as sent, ends at the authority that the token pins
// and is good for host (a name or an address). No other authority counts, and the client
// shows no certificate.
func TLSForJoin(token JoinToken, host string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: host,
		// The roots of the machine must not count. VerifyConnection does all that is left out
		// here, with the only root that does.
		InsecureSkipVerify: true, //nolint:gosec // verified below, against the pin
		VerifyConnection: func(state tls.ConnectionState) error {
			return verifyPinned(state.PeerCertificates, token.Pin, host)
		},
	}
}

func verifyPinned(chain []*x509.Certificate, pin Pin, host string) error {
	if host == "" {
		return errors.New("verify controller: its name is not known")
	}
	if len(chain) == 0 || len(chain) > maxChain {
		return fmt.Errorf("verify controller %s: it sent %d certificates", host, len(chain))
	}
	roots := x509.NewCertPool()
	found := false
	for _, cert := range chain[1:] {
		if cert.IsCA && pinOf(cert) == pin {
			roots.AddCert(cert)
			found = true
		}
	}
	if !found {
		return fmt.Errorf("verify controller %s: its authority is not the one that the join token names; "+
			"the token is of another fleet, or something stands between", host)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		DNSName: host, Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("verify controller %s: %w", host, err)
	}
	return nil
}

// CheckBundle wants the pinned authority to be among the certificates (DER, one after the
// other) that the controller answered a join with.
func (t JoinToken) CheckBundle(bundle []byte) error {
	certs, err := parseBundleDER(bundle)
	if err != nil {
		return fmt.Errorf("check authority: %w", err)
	}
	for _, cert := range certs {
		if pinOf(cert) == t.Pin {
			return nil
		}
	}
	return errors.New("check authority: the controller's answer does not have the authority that the join token names")
}
