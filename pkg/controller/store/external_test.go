package store_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"golang.org/x/crypto/bcrypt"

	"ktrdr.io/fleet/pkg/controller/store"
)

// authority issues certificates into files.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert, a.key = template, newKey(t)
	a.cert = a.issue(t, "ca", template, a.key)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue writes name.crt and name.key.
func (a *authority) issue(t *testing.T, name string, template *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, a.file(name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
	write(t, a.file(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func write(t *testing.T, path string, content []byte, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, content, mode), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

// startTLS starts an etcd that wants client certificates, and returns its URL.
func startTLS(t *testing.T, a *authority) string {
	t.Helper()
	a.issue(t, "server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, newKey(t))
	config := memberConfig(t.TempDir(), "tls", nil)
	config.ListenClientUrls = []url.URL{{Scheme: "https", Host: "127.0.0.1:0"}}
	config.AdvertiseClientUrls = config.ListenClientUrls
	config.ClientTLSInfo = transport.TLSInfo{
		CertFile: a.file("server.crt"), KeyFile: a.file("server.key"), TrustedCAFile: a.file("ca.crt"), ClientCertAuth: true,
	}
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	<-etcd.Server.ReadyNotify()
	return "https://" + etcd.Clients[0].Addr().String()
}

func TestTLS(t *testing.T) {
	t.Parallel()
	a, stranger := newAuthority(t), newAuthority(t)
	endpoint := startTLS(t, a)
	for _, each := range []*authority{a, stranger} {
		each.issue(t, "client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, newKey(t))
	}
	good := store.External{Endpoints: []string{endpoint}, CAFile: a.file("ca.crt"), CertFile: a.file("client.crt"), KeyFile: a.file("client.key")}
	s := openConfig(t, store.Config{External: &good})
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	otherCA, otherCert, noCert := good, good, good
	otherCA.CAFile = stranger.file("ca.crt")
	otherCert.CertFile, otherCert.KeyFile = stranger.file("client.crt"), stranger.file("client.key")
	noCert.CertFile, noCert.KeyFile = "", ""
	for name, config := range map[string]store.External{"another authority": otherCA, "another's certificate": otherCert, "no certificate": noCert} {
		if _, err := store.Open(t.Context(), store.Config{External: &config}); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	empty := good
	empty.CAFile = a.file("empty")
	write(t, empty.CAFile, nil, 0o600)
	if _, err := store.Open(t.Context(), store.Config{External: &empty}); err == nil || !strings.Contains(err.Error(), "caFile") {
		t.Errorf("a file without certificates: %v", err)
	}
}

// TestUser uses etcd's own authentication, with a role that has the prefix and nothing else.
func TestUser(t *testing.T) {
	dir, err := os.MkdirTemp("", "u") //nolint:usetesting // paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	member := memberConfig(dir, "auth", nil)
	member.BcryptCost = uint(bcrypt.MinCost) // else seconds for a password under the race detector
	etcd, err := embed.StartEtcd(member)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close) // after its clients
	<-etcd.Server.ReadyNotify()
	endpoint := clientURL(dir, "auth").String()
	ctx, admin := t.Context(), client(t, endpoint)
	_, e1 := admin.UserAdd(ctx, "root", "toor")
	_, e2 := admin.UserGrantRole(ctx, "root", "root")
	_, e3 := admin.RoleAdd(ctx, "ktrdr")
	_, e4 := admin.RoleGrantPermission(ctx, "ktrdr", "/mine/", "/mine0", clientv3.PermissionType(clientv3.PermReadWrite))
	_, e5 := admin.UserAdd(ctx, "ktrdr", "pass word")
	_, e6 := admin.UserGrantRole(ctx, "ktrdr", "ktrdr")
	_, e7 := admin.AuthEnable(ctx)
	if err := errors.Join(e1, e2, e3, e4, e5, e6, e7); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "password")
	write(t, file, []byte("pass word\n"), 0o600)
	config := store.External{Endpoints: []string{endpoint}, Prefix: "/mine/", Username: "ktrdr", PasswordFile: file}
	s := openConfig(t, store.Config{External: &config})
	put(t, s, "a")
	se := session(t, s, "c1")
	if err := se.Connect(ctx, store.Connection{Node: "a"}); err != nil {
		t.Error(err)
	}
	if err := s.Snapshot(ctx, io.Discard); err == nil || !strings.Contains(err.Error(), "etcdctl --user root snapshot save") {
		t.Errorf("a copy of the cluster by who may use the prefix only: %v", err)
	}

	elsewhere := config
	elsewhere.Prefix = "/other/"
	wantDenied(t, "another prefix", elsewhere, "role's keys")
	write(t, file, []byte("wrong"), 0o600)
	wantDenied(t, "a wrong password", config, "passwordFile")
	write(t, file, []byte("pass word"), 0o604)
	wantDenied(t, "a password for everybody", config, "chmod")
	write(t, file, []byte("\n"), 0o600)
	wantDenied(t, "no password", config, "is empty")
}

func wantDenied(t *testing.T, what string, config store.External, says string) {
	t.Helper()
	_, err := store.Open(t.Context(), store.Config{External: &config})
	if err == nil || errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "pass word") {
		t.Errorf("%s: %v", what, err)
	}
}
