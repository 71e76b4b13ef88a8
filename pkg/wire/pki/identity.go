package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
)

// Kind is what an identity is of.
type Kind string

// Kinds of identities.
const (
	Node     Kind = "node"
	Operator Kind = "operator"
	// Controller is one controller towards another one.
	Controller Kind = "controller"
)

const identityScheme = "ktrdr"

// Identity is who a verified certificate says its holder is.
type Identity struct {
	Kind Kind
	Name string
	// Serial of the certificate, as SerialOf writes it: what is revoked.
	Serial string
}

// String is the identity as in the certificate: ktrdr://node/b.
func (i Identity) String() string { return identityURI(i.Kind, i.Name).String() }

// ErrNoCertificate tells that a peer showed no certificate.
var ErrNoCertificate = errors.New("the peer showed no client certificate")

// IdentityOf returns who the peer of a TLS server is. The connection must have verified
// the peer's chain; a certificate that was only shown is an error, as is one that names
// anything else than exactly one identity. It is ErrNoCertificate if none was shown.
func IdentityOf(state tls.ConnectionState) (Identity, error) {
	if len(state.PeerCertificates) == 0 {
		return Identity{}, ErrNoCertificate
	}
	if !state.HandshakeComplete || len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return Identity{}, errors.New("read the peer's identity: its certificate was not verified")
	}
	return identityIn(state.VerifiedChains[0][0])
}

// identityIn reads the identity in a client's certificate. It trusts the certificate.
func identityIn(cert *x509.Certificate) (Identity, error) {
	switch {
	case cert.IsCA:
		return Identity{}, errors.New("read the peer's identity: its certificate is one of an authority")
	case len(cert.URIs) != 1 || len(cert.DNSNames)+len(cert.IPAddresses)+len(cert.EmailAddresses) > 0:
		return Identity{}, errors.New("read the peer's identity: its certificate must name exactly one ktrdr:// URI and nothing else")
	}
	id, err := parseIdentity(cert.URIs[0])
	if err != nil {
		return Identity{}, fmt.Errorf("read the peer's identity: %w", err)
	}
	id.Serial = SerialOf(cert)
	return id, nil
}

// parseIdentity accepts only what identityURI writes, byte for byte.
func parseIdentity(uri *url.URL) (Identity, error) {
	text := uri.String()
	rest, ok := strings.CutPrefix(text, identityScheme+"://")
	kind, name, found := strings.Cut(rest, "/")
	if !ok || !found {
		return Identity{}, fmt.Errorf("%.100q is not ktrdr://node/<name>, ktrdr://operator/<name> or ktrdr://controller/<id>", text)
	}
	if err := CheckName(Kind(kind), name); err != nil {
		return Identity{}, err
	}
	return Identity{Kind: Kind(kind), Name: name}, nil
}

func identityURI(kind Kind, name string) *url.URL {
	return &url.URL{Scheme: identityScheme, Host: string(kind), Path: "/" + name}
}

// SerialOf returns the serial number as 32 hexadecimal digits, in lower case.
func SerialOf(cert *x509.Certificate) string { return serialText(cert.SerialNumber) }

func serialText(n *big.Int) string {
	if n == nil || n.Sign() < 0 || n.BitLen() > serialBits {
		return ""
	}
	return hex.EncodeToString(n.FillBytes(make([]byte, serialBits/8)))
}
