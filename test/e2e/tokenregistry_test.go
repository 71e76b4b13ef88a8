package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"ktrdr.io/fleet/pkg/api"
)

// tokenRegistry is a registry as the public ones are: TLS, and a token server that trades
// a login for a token of a short life. Its authority is the engine's to know, in certs.d.
type tokenRegistry struct {
	closedRegistry

	server *httptest.Server
	images http.Handler
	// life of the tokens that are issued from now on; negative ones are expired at once.
	life                    atomic.Int64
	issued, denied, expired atomic.Int64

	mu     sync.Mutex
	tokens map[string]time.Time
}

// newTokenRegistry listens on an address of this machine that is not loopback.
func newTokenRegistry(t *testing.T) *tokenRegistry {
	t.Helper()
	r := &tokenRegistry{images: registry.New(registry.Logger(log.New(&output{}, "", 0))), tokens: map[string]time.Time{}}
	r.life.Store(int64(time.Minute))
	address := ownAddress(t)
	if address == "" {
		t.Skip("SKIPPED: this machine has no address but loopback, where engines don't check certificates")
	}
	r.server = withTLS(t, address, r)
	r.host = r.server.Listener.Addr().String()
	return r
}

// withTLS serves on an address with a certificate that the engine trusts for it.
func withTLS(t *testing.T, address string, handler http.Handler) *httptest.Server {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	pair, authority := certificates(t, listener.Addr().(*net.TCPAddr).IP)
	folder := filepath.Join("/etc/docker/certs.d", listener.Addr().String())
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // certificates are public
		t.Skipf("SKIPPED: the engine's certificates can't be written: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	writeFile(t, filepath.Join(folder, "ca.crt"), authority, 0o644)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(&output{}, "", 0)}}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// ownAddress is an IPv4 address of this machine that is not loopback; empty when there is none.
func ownAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() && !ip.IP.IsLinkLocalUnicast() {
			return ip.IP.String()
		}
	}
	return ""
}

// certificates makes an authority and a server's pair from it.
func certificates(t *testing.T, ip net.IP) (tls.Certificate, string) {
	t.Helper()
	make509 := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			signer = key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		return der, key
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "e2e authority"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, caKey := make509(ca, ca, nil)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "e2e registry"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{ip}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, key := make509(leaf, ca, caKey)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}))
}

func (r *tokenRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/token" {
		r.token(w, req)
		return
	}
	token, _ := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	r.mu.Lock()
	until, known := r.tokens[token]
	r.mu.Unlock()
	if !known || time.Now().After(until) {
		challenge := fmt.Sprintf(`Bearer realm="https://%s/token",service="e2e",scope="repository:e2e/web:pull"`, r.host)
		if known {
			r.expired.Add(1)
			challenge += `,error="invalid_token"`
		}
		w.Header().Set("WWW-Authenticate", challenge)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`))
		return
	}
	req.URL.Path = strings.Replace(req.URL.Path, "/e2e/pushed/", "/e2e/web/", 1)
	r.images.ServeHTTP(w, req)
}

func (r *tokenRegistry) token(w http.ResponseWriter, req *http.Request) {
	user, pass, _ := req.BasicAuth()
	if user != registryUser || pass != registryPass {
		r.denied.Add(1)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}`, http.StatusUnauthorized)
		return
	}
	r.issued.Add(1)
	token := rand.Text()
	r.mu.Lock()
	r.tokens[token] = time.Now().Add(time.Duration(r.life.Load()))
	r.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": 60, "issued_at": time.Now().UTC().Format(time.RFC3339)})
}

// TestTokenRegistry: over TLS with an authority of its own and bearer tokens, a login and
// its end are told and mended, a moved tag is followed when it is asked for, and what is
// here needs no registry.
func TestTokenRegistry(t *testing.T) {
	var made struct{ ID string }
	t.Cleanup(func() { // after the containers are gone
		if made.ID != "" {
			machine().quietly(http.MethodDelete, "/images/"+made.ID+"?force=1")
		}
	})
	a := newAgent(t, "", "")
	r := newTokenRegistry(t)
	compose := func(ref, more string) {
		a.compose("services:\n  web:\n    image: " + r.host + "/e2e/web" + ref + "\n    restart: unless-stopped\n    healthcheck: {disable: true}\n" +
			"    command: [http, --port, \"8080\", --name, web]\n" + more)
	}
	web := func() *inspected { return a.on.must(t, a.name("web")) }
	a.write("fleet.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: e2e}\nspec:\n  registries:\n"+
		"  - {host: '"+r.host+"', username: "+registryUser+", password: 'op://e2e/registry/password'}\n")
	secrets := filepath.Join(a.home, "secrets.env")
	login := func(pass string) { writeFile(t, secrets, "REGISTRY_PASSWORD="+pass+"\n", 0o600) }
	a.extra = []string{"secrets: {dotenv: {file: " + secrets + "}, refresh: 1s}"}
	r.push(t, a.on, "1")
	r.push(t, a.on, "2")

	login(registryPass)
	compose(":1", "")
	a.start()
	a.converged()
	first := a.on.snapshot(t, a.name("web"))
	stays := func(what string, reason api.Reason) {
		t.Helper()
		st := a.await(what, time.Minute, func(st api.NodeStatus) bool { return service(st, a.name("web")).Reason == reason })
		t.Logf("%s: %s", what, service(st, a.name("web")).Message)
		a.on.untouched(t, first)
	}

	login("wrong-password-77")
	compose(":2", "")
	eventually(t, "the wrong password is in use", time.Minute, func() bool { return r.denied.Load() > 0 })
	stays("wrong password", api.ReasonImageDenied)
	r.life.Store(int64(-time.Second))
	login(registryPass)
	eventually(t, "an expired token was tried", time.Minute, func() bool { return r.expired.Load() > 0 })
	stays("expired token", api.ReasonImageDenied)
	r.life.Store(int64(time.Minute))
	if status, _, err := a.ask(http.MethodPost, "/v1/sync"); err != nil || status != http.StatusAccepted {
		t.Fatalf("sync: %d %v", status, err)
	}
	second := service(a.converged(), a.name("web"))

	a.on.do(t, http.MethodPost, "/commit?container="+web().ID+"&repo="+url.QueryEscape(r.host+"/e2e/pushed")+"&tag=2&changes="+
		url.QueryEscape("LABEL moved=yes"), map[string]any{}, &made)
	r.pushTagged(t, a.on, "2")
	compose(":2", "    pull_policy: always\n")
	moved := a.await("the moved tag", time.Minute, func(st api.NodeStatus) bool {
		return allConverged(st) && service(st, a.name("web")).Actual != second.Actual
	})
	digest := service(moved, a.name("web")).Actual

	r.server.CloseClientConnections()
	r.server.Close()
	a.restart()
	compose("@"+digest, "")
	a.await("converged on a digest that is here, without the registry", time.Minute, func(st api.NodeStatus) bool {
		return allConverged(st) && strings.HasSuffix(service(st, a.name("web")).Image, digest)
	})
	gone := web().ID
	a.on.remove(t, a.name("web"))
	eventually(t, "repaired without the registry", time.Minute, func() bool {
		c := a.on.container(t, a.name("web"))
		return c != nil && c.ID != gone && allConverged(a.status())
	})
	t.Logf("tokens issued %d, logins denied %d, expired tokens %d", r.issued.Load(), r.denied.Load(), r.expired.Load())
	leak(t, "the log", a.log.String(), []string{registryPass, "wrong-password-77"})
}
