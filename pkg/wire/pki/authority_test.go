package pki_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/wire/pki"
)

func TestAuthorityIsWrittenOnceAndClosed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	made, err := pki.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{pki.KeyFile: 0o600, pki.CertFile: 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %04o, want %04o", name, got, want)
		}
	}
	if _, err := pki.Create(dir); err == nil {
		t.Error("a second authority was made over the first one")
	}
	loaded, err := load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Pin() != made.Pin() {
		t.Error("the loaded authority is another one")
	}
	if left := time.Until(loaded.NotAfter()); left < 9*365*24*time.Hour {
		t.Errorf("the authority is good for %s, want ten years", left)
	}
}

func load(dir string) (*pki.Authority, error) {
	return pki.Load(filepath.Join(dir, pki.CertFile), filepath.Join(dir, pki.KeyFile))
}

func TestLoadRefuses(t *testing.T) {
	tests := map[string]struct {
		breakIt func(t *testing.T, dir string)
		want    string
	}{
		"a key that the group can read": {func(t *testing.T, dir string) {
			must(t, os.Chmod(filepath.Join(dir, pki.KeyFile), 0o640))
		}, "chmod 600"},
		"a key that is a folder": {func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, pki.KeyFile)))
			must(t, os.Mkdir(filepath.Join(dir, pki.KeyFile), 0o700))
		}, "no regular file"},
		"a foreign-owned key": {func(t *testing.T, dir string) {
			if os.Geteuid() != 0 {
				t.Skip("only root can give files away")
			}
			must(t, os.Chown(filepath.Join(dir, pki.KeyFile), 12345, 0))
		}, "belongs to user 12345"},
		"the key of another authority": {func(t *testing.T, dir string) {
			other := t.TempDir()
			if _, err := pki.Create(other); err != nil {
				t.Fatal(err)
			}
			must(t, os.Rename(filepath.Join(other, pki.KeyFile), filepath.Join(dir, pki.KeyFile)))
		}, "not the one of the first certificate"},
		"an empty certificate": {func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, pki.CertFile), nil, 0o600))
		}, "no certificate"},
		"a key in place of the certificate": {func(t *testing.T, dir string) {
			data, err := os.ReadFile(filepath.Join(dir, pki.KeyFile))
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, pki.CertFile), data, 0o600))
		}, "no certificate"},
		"a leaf in place of an authority": {func(t *testing.T, dir string) {
			a, err := load(dir)
			must(t, err)
			leaf := enrol(t, a, "b").Certificate.Leaf
			must(t, os.WriteFile(filepath.Join(dir, pki.CertFile), pemOf(leaf), 0o600))
		}, "not one of an authority"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := pki.Create(dir); err != nil {
				t.Fatal(err)
			}
			tc.breakIt(t, dir)
			if _, err := load(dir); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Load: %v, want an error with %q", err, tc.want)
			}
		})
	}
}

// TestRequestGivesOnlyTheKey asks for all that a certificate must not get from a request.
func TestRequestGivesOnlyTheKey(t *testing.T) {
	a := authority(t)
	evil, err := url.Parse("ktrdr://operator/root")
	must(t, err)
	csr := csrOf(t, ecKey(t, elliptic.P256()), &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "root", Organization: []string{"admins"}}, URIs: []*url.URL{evil},
		DNSNames: []string{"controller.example"}, IPAddresses: []net.IP{{10, 0, 0, 1}}, EmailAddresses: []string{"a@example.org"},
	})
	issued, err := a.IssueNode("b", csr)
	must(t, err)
	leaf := issued.Leaf
	if got := leaf.Subject.String(); got != "CN=b" {
		t.Errorf("subject is %s", got)
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "ktrdr://node/b" || len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) > 0 {
		t.Errorf("names are %v %v %v %v", leaf.URIs, leaf.DNSNames, leaf.IPAddresses, leaf.EmailAddresses)
	}
	if diff := cmp.Diff([]x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, leaf.ExtKeyUsage); diff != "" {
		t.Error(diff)
	}
	if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("CA %v, key usage %b", leaf.IsCA, leaf.KeyUsage)
	}
	if len(issued.Serial) != 32 || issued.Serial != pki.SerialOf(leaf) {
		t.Errorf("serial %q", issued.Serial)
	}
}

func TestServerCertificateIsOfAServerOnly(t *testing.T) {
	a := authority(t)
	cert, err := a.IssueServer([]string{"controller.example"}, []netip.Addr{netip.MustParseAddr("10.0.0.1")})
	must(t, err)
	if diff := cmp.Diff([]x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, cert.Leaf.ExtKeyUsage); diff != "" {
		t.Error(diff)
	}
	must(t, cert.Leaf.VerifyHostname("controller.example"))
	must(t, cert.Leaf.VerifyHostname("10.0.0.1"))
	for _, name := range []string{"", "a b", "-", "*.example", strings.Repeat("a.", 127) + "aa"} {
		if _, err := a.IssueServer([]string{name}, nil); err == nil {
			t.Errorf("host name %q was accepted", name)
		}
	}
	if _, err := a.IssueServer(nil, nil); err == nil {
		t.Error("a certificate without a name was issued")
	}
	if _, err := a.IssueServer(nil, []netip.Addr{netip.IPv4Unspecified()}); err == nil {
		t.Error("a certificate for 0.0.0.0 was issued")
	}
}

func TestTimesOfCertificates(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	a := authority(t)
	csr := csrOf(t, ecKey(t, elliptic.P256()), &x509.CertificateRequest{})
	issued, err := a.WithClock(func() time.Time { return now }).IssueNode("b", csr)
	must(t, err)
	if got, want := issued.Leaf.NotBefore, now.Add(-pki.Skew); !got.Equal(want) {
		t.Errorf("not before %s, want %s", got, want)
	}
	if got, want := issued.Leaf.NotAfter, now.Add(pki.DefaultLifetime); !got.Equal(want) {
		t.Errorf("not after %s, want %s", got, want)
	}
	late := func() time.Time { return a.NotAfter().Add(-time.Hour) }
	issued, err = a.WithClock(late).IssueNode("b", csr)
	must(t, err)
	if !issued.Leaf.NotAfter.Equal(a.NotAfter()) {
		t.Errorf("a certificate ends %s, after its authority", issued.Leaf.NotAfter)
	}
	if _, err := a.WithClock(a.NotAfter).IssueNode("b", csr); err == nil {
		t.Error("an authority that has ended issued a certificate")
	}
}

func TestKeysOfRequests(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	rsaKey := func(bits int) crypto.Signer {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		must(t, err)
		return key
	}
	t.Setenv("GODEBUG", "rsa1024min=0")
	tests := map[string]struct {
		key crypto.Signer
		ok  bool
	}{
		"ECDSA P-256": {ecKey(t, elliptic.P256()), true},
		"ECDSA P-384": {ecKey(t, elliptic.P384()), true},
		"ECDSA P-224": {ecKey(t, elliptic.P224()), false},
		"ECDSA P-521": {ecKey(t, elliptic.P521()), false},
		"Ed25519":     {ed, true},
		"RSA 1024":    {rsaKey(1024), false},
		"RSA 2048":    {rsaKey(2048), true},
	}
	a := authority(t)
	for name, tc := range tests {
		_, err := a.IssueNode("b", csrOf(t, tc.key, &x509.CertificateRequest{}))
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v, accepted shall be %v", name, err, tc.ok)
		}
	}
}

func TestRequestMustBeSignedByItsKey(t *testing.T) {
	csr := csrOf(t, ecKey(t, elliptic.P256()), &x509.CertificateRequest{})
	for name, der := range map[string][]byte{
		"nothing":          nil,
		"too long":         make([]byte, 9<<10),
		"damaged":          append(append([]byte{}, csr[:len(csr)-1]...), csr[len(csr)-1]^1),
		"something behind": append(append([]byte{}, csr...), 0),
	} {
		if _, err := authority(t).IssueNode("b", der); err == nil {
			t.Errorf("%s: a certificate was issued", name)
		}
	}
}

func TestNames(t *testing.T) {
	a := authority(t)
	csr := csrOf(t, ecKey(t, elliptic.P256()), &x509.CertificateRequest{})
	for _, name := range []string{"", "B", "a.b", "a/b", "a b", "-a", "a-", "a\n", "é", strings.Repeat("a", 64), "../b", "a%2fb"} {
		if _, err := a.IssueNode(name, csr); err == nil {
			t.Errorf("node %q got a certificate", name)
		}
		if _, err := a.IssueOperator(name, csr); err == nil {
			t.Errorf("operator %q got a certificate", name)
		}
		if _, err := a.NewJoinToken(name); err == nil {
			t.Errorf("node %q got a join token", name)
		}
	}
}
