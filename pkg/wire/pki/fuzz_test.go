package pki_test

import (
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/wire/pki"
)

func FuzzParseJoinToken(f *testing.F) {
	token, err := authority(f).NewJoinToken("b")
	must(f, err)
	f.Add(token.Text())
	f.Add("ktrdr-join-1....")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := pki.ParseJoinToken(text)
		if err != nil {
			return
		}
		if got.Text() != strings.TrimSpace(text) {
			t.Errorf("%q was read as %q", text, got.Text())
		}
	})
}

func FuzzParseOperatorToken(f *testing.F) {
	f.Add(pki.NewOperatorToken().Text())
	f.Add("ktrdr-op-1..")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := pki.ParseOperatorToken(text)
		if err == nil && got.Text() != strings.TrimSpace(text) {
			t.Errorf("%q was read as %q", text, got.Text())
		}
	})
}

func FuzzSigningRequest(f *testing.F) {
	a := authority(f)
	f.Add(csrOf(f, ecKey(f, elliptic.P256()), &x509.CertificateRequest{DNSNames: []string{"a"}}))
	f.Fuzz(func(t *testing.T, der []byte) {
		issued, err := a.IssueNode("b", der)
		if err != nil {
			return
		}
		id, err := identity(issued.Leaf)
		if err != nil || id.Name != "b" || id.Kind != pki.Node || len(issued.Leaf.DNSNames) > 0 {
			t.Errorf("issued %v, %v", id, err)
		}
	})
}

func FuzzIdentity(f *testing.F) {
	f.Add(enrol(f, authority(f), "b").Certificate.Certificate[0])
	f.Fuzz(func(t *testing.T, der []byte) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		id, err := identity(cert)
		if err != nil {
			return
		}
		if err := pki.CheckName(id.Kind, id.Name); err != nil {
			t.Errorf("an identity that nobody issues: %v", err)
		}
	})
}

func FuzzInstall(f *testing.F) {
	a := authority(f)
	f.Add(enrol(f, a, "b").Certificate.Certificate[0], a.BundleDER())
	s := store(f)
	request(f, s)
	f.Fuzz(func(t *testing.T, leaf, bundle []byte) {
		if _, err := s.Install(grant([][]byte{leaf}, bundle)); err == nil {
			t.Error("a certificate for a key that nobody knows was installed")
		}
	})
}

func identity(cert *x509.Certificate) (pki.Identity, error) {
	return pki.IdentityOf(tls.ConnectionState{
		HandshakeComplete: true, PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}},
	})
}
