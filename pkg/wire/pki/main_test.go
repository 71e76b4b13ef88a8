package pki_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/netip"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/wire/pki"
	"ktrdr.io/fleet/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

func authority(t testing.TB) *pki.Authority {
	t.Helper()
	a, err := pki.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func store(t testing.TB) *pki.KeyStore {
	t.Helper()
	s, err := pki.OpenKeyStore(t.TempDir() + "/keys")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func request(t testing.TB, s *pki.KeyStore) []byte {
	t.Helper()
	csr, err := s.Request()
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

// enrol gives a store a certificate of a node.
func enrol(t testing.TB, a *pki.Authority, node string) *pki.Credentials {
	t.Helper()
	s := store(t)
	issued, err := a.IssueNode(node, request(t, s))
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Install(pki.Grant{Kind: pki.Node, Name: node, Chain: issued.Chain, Authorities: a.BundleDER()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func csrOf(t testing.TB, key crypto.Signer, template *x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// handshake connects two ends over TCP and returns what each of them saw.
func handshake(t testing.TB, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	type seen struct {
		state tls.ConnectionState
		err   error
	}
	served := make(chan seen, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			served <- seen{err: err}
			return
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
		c := conn.(*tls.Conn)
		err = c.HandshakeContext(t.Context())
		served <- seen{c.ConnectionState(), err}
	}()
	raw, err := (&net.Dialer{Timeout: 2 * time.Minute}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	conn := tls.Client(raw, client)
	clientErr := conn.HandshakeContext(t.Context())
	if clientErr != nil {
		_ = raw.Close()
	}
	result := <-served
	if clientErr != nil {
		return result.state, clientErr
	}
	return result.state, result.err
}

func serverConfig(t testing.TB, a *pki.Authority) *tls.Config {
	t.Helper()
	cert, err := a.IssueServer([]string{"controller.example"}, []netip.Addr{netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert},
		ClientCAs: a.Pool(), ClientAuth: tls.VerifyClientCertIfGiven,
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pemOf(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func clientConfig(c *pki.Credentials) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: c.Authorities, ServerName: "controller.example", Certificates: []tls.Certificate{c.Certificate},
	}
}

// grant is one for node b.
func grant(chain [][]byte, authorities []byte) pki.Grant {
	return pki.Grant{Kind: pki.Node, Name: "b", Chain: chain, Authorities: authorities}
}
