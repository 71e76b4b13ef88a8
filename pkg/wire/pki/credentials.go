package pki

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Credentials is what a node or an operator shows and whom it trusts. It is immutable.
type Credentials struct {
	Identity    Identity
	Certificate tls.Certificate
	Authorities *x509.CertPool

	pins []Pin
}

// newCredentials puts together what belongs together, whatever the time is.
func newCredentials(key crypto.Signer, chain, roots []*x509.Certificate) (*Credentials, error) {
	leaf := chain[0]
	if !fits(leaf, key) {
		return nil, errors.New("the certificate is for another key")
	}
	id, err := identityIn(leaf)
	if err != nil {
		return nil, err
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: pool(roots), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		// The clock of this machine may be wrong; the controller's counts.
		CurrentTime: leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2),
	})
	if err != nil {
		return nil, fmt.Errorf("verify certificate: %w", err)
	}
	cert := tls.Certificate{PrivateKey: key, Leaf: leaf}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	all := &Credentials{Identity: id, Certificate: cert, Authorities: pool(roots)}
	for _, root := range roots {
		all.pins = append(all.pins, pinOf(root))
	}
	return all, nil
}

// Trusts tells whether an authority is among those that are trusted.
func (c *Credentials) Trusts(pin Pin) bool { return slices.Contains(c.pins, pin) }

// NotAfter is when the certificate ends.
func (c *Credentials) NotAfter() time.Time { return c.Certificate.Leaf.NotAfter }

// NextRenewal is when to ask for the next certificate: after two thirds of the lifetime,
// and up to a twelfth of it later, so that nodes that joined together don't come together.
// It is the same whenever it is asked.
func (c *Credentials) NextRenewal() time.Time {
	leaf := c.Certificate.Leaf
	lifetime := leaf.NotAfter.Sub(leaf.NotBefore)
	pin := pinOf(leaf)
	part := float64(binary.BigEndian.Uint32(pin[:4])) / (1 << 32)
	return leaf.NotBefore.Add(lifetime*2/3 + time.Duration(part*float64(lifetime/12)))
}

// encodeCredentials writes chain, key and authorities: the key tells where the authorities
// begin.
func encodeCredentials(key crypto.Signer, chain, roots []*x509.Certificate) ([]byte, error) {
	text, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	return slices.Concat(certsPEM(chain), text, certsPEM(roots)), nil
}

func parseCredentials(data []byte) (*Credentials, error) {
	chain, rest, err := parseCerts(data)
	if err != nil {
		return nil, err
	}
	if len(chain) == 0 {
		return nil, errors.New("there is no certificate")
	}
	key, rest, err := parseKey(rest)
	if err != nil {
		return nil, err
	}
	roots, err := parseBundle(rest)
	if err != nil {
		return nil, err
	}
	return newCredentials(key, chain, roots)
}

func parseChain(chain [][]byte) ([]*x509.Certificate, error) {
	if len(chain) == 0 || len(chain) > maxChain {
		return nil, fmt.Errorf("there are %d certificates, want 1 to %d", len(chain), maxChain)
	}
	var certs []*x509.Certificate
	for _, der := range chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("read certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
	return certs, nil
}
