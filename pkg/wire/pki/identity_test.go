package pki_test

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/wire/pki"
)

func TestIdentityOverTLS(t *testing.T) {
	a := authority(t)
	server := serverConfig(t, a)
	node := enrol(t, a, "b")
	state, err := handshake(t, server, &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: node.Authorities, ServerName: "controller.example", Certificates: []tls.Certificate{node.Certificate},
	})
	must(t, err)
	got, err := pki.IdentityOf(state)
	must(t, err)
	if diff := cmp.Diff(node.Identity, got); diff != "" {
		t.Error(diff)
	}
	if got.String() != "ktrdr://node/b" {
		t.Errorf("identity is %s", got)
	}

	state, err = handshake(t, server, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: a.Pool(), ServerName: "controller.example"})
	must(t, err)
	if _, err := pki.IdentityOf(state); !errors.Is(err, pki.ErrNoCertificate) {
		t.Errorf("without a certificate: %v", err)
	}
}

// TestServerRefuses holds certificates against a real server that must not get through.
func TestServerRefuses(t *testing.T) {
	a := authority(t)
	server := serverConfig(t, a)
	serverAsClient := server.Certificates[0]
	issue := func(at time.Time) tls.Certificate {
		key := ecKey(t, elliptic.P256())
		issued, err := a.WithClock(func() time.Time { return at }).IssueNode("b", csrOf(t, key, &x509.CertificateRequest{}))
		must(t, err)
		return tls.Certificate{Certificate: issued.Chain, PrivateKey: key}
	}
	for name, cert := range map[string]tls.Certificate{
		"another fleet's node":             enrol(t, authority(t), "b").Certificate,
		"the server's own certificate":     serverAsClient,
		"a node whose certificate ended":   issue(time.Now().Add(-31 * 24 * time.Hour)),
		"a node whose time has not come":   issue(time.Now().Add(time.Hour)),
		"a certificate that a node signed": forge(t, enrol(t, a, "b").Certificate),
	} {
		state, err := handshake(t, server, &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: a.Pool(), ServerName: "controller.example",
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
		})
		if err == nil {
			id, idErr := pki.IdentityOf(state)
			t.Errorf("%s: the handshake succeeded as %v, %v", name, id, idErr)
		}
	}
	// A clock that is up to five minutes behind is usual on fresh machines.
	cert := issue(time.Now().Add(4 * time.Minute))
	if _, err := handshake(t, server, &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: a.Pool(), ServerName: "controller.example", Certificates: []tls.Certificate{cert},
	}); err != nil {
		t.Errorf("a certificate from a clock four minutes ahead: %v", err)
	}
}

// forge lets a node's key sign a certificate of an operator.
func forge(t *testing.T, node tls.Certificate) tls.Certificate {
	t.Helper()
	uri, err := url.Parse("ktrdr://operator/root")
	must(t, err)
	key := ecKey(t, elliptic.P256())
	der, err := x509.CreateCertificate(rand.Reader, leafTemplate(uri), node.Leaf, key.Public(), node.PrivateKey)
	must(t, err)
	return tls.Certificate{Certificate: append([][]byte{der}, node.Certificate...), PrivateKey: key}
}

func leafTemplate(uris ...*url.URL) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(77), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true, URIs: uris,
	}
}

func TestIdentityIsStrict(t *testing.T) {
	uri := func(text string) *url.URL {
		u, err := url.Parse(text)
		must(t, err)
		return u
	}
	good := uri("ktrdr://node/b")
	tests := map[string]struct {
		change func(c *x509.Certificate)
		ok     bool
	}{
		"one of ours":         {func(*x509.Certificate) {}, true},
		"none":                {func(c *x509.Certificate) { c.URIs = nil }, false},
		"two":                 {func(c *x509.Certificate) { c.URIs = []*url.URL{good, uri("ktrdr://operator/root")} }, false},
		"one and a foreign":   {func(c *x509.Certificate) { c.URIs = []*url.URL{good, uri("spiffe://x/y")} }, false},
		"a foreign one":       {func(c *x509.Certificate) { c.URIs = []*url.URL{uri("spiffe://node/b")} }, false},
		"a host name as well": {func(c *x509.Certificate) { c.DNSNames = []string{"b"} }, false},
		"an address as well":  {func(c *x509.Certificate) { c.EmailAddresses = []string{"b@example.org"} }, false},
		"an authority":        {func(c *x509.Certificate) { c.IsCA = true }, false},
		"unknown kind":        {func(c *x509.Certificate) { c.URIs = []*url.URL{uri("ktrdr://admin/b")} }, false},
		"no name":             {func(c *x509.Certificate) { c.URIs = []*url.URL{uri("ktrdr://node/")} }, false},
		"more path":           {func(c *x509.Certificate) { c.URIs = []*url.URL{uri("ktrdr://node/b/c")} }, false},
		"encoded":             {func(c *x509.Certificate) { c.URIs = []*url.URL{uri("ktrdr://node/%62")} }, false},
		"upper case":          {func(c *x509.Certificate) { c.URIs = []*url.URL{uri("KTRDR://node/b")} }, true},
		"query":               {func(c *x509.Certificate) { c.URIs = []*url.URL{uri("ktrdr://node/b?x=1")} }, false},
		"fragment":            {func(c *x509.Certificate) { c.URIs = []*url.URL{uri("ktrdr://node/b#x")} }, false},
		"user":                {func(c *x509.Certificate) { c.URIs = []*url.URL{uri("ktrdr://root@node/b")} }, false},
		"port":                {func(c *x509.Certificate) { c.URIs = []*url.URL{uri("ktrdr://node:1/b")} }, false},
	}
	for name, tc := range tests {
		cert := leafTemplate(good)
		tc.change(cert)
		state := tls.ConnectionState{
			HandshakeComplete: true, PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}},
		}
		if _, err := pki.IdentityOf(state); (err == nil) != tc.ok {
			t.Errorf("%s: %v, accepted shall be %v", name, err, tc.ok)
		}
		state.VerifiedChains = nil
		if _, err := pki.IdentityOf(state); err == nil {
			t.Errorf("%s: accepted although nobody verified it", name)
		}
	}
}
