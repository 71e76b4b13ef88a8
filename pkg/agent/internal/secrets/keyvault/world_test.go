package keyvault_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"ktrdr.io/fleet/pkg/agent/internal/secrets/keyvault"
	"ktrdr.io/fleet/pkg/agent/internal/secrets/secretstest"
)

// azure is a small Key Vault over TLS that challenges as the real one does: the first
// request to a vault is refused with the place to get a token from.
type azure struct {
	web      *httptest.Server
	client   *http.Client
	followed atomic.Int32
	// requests to secrets, challenges not counted.
	read atomic.Int32

	mu      sync.Mutex
	secrets map[string][]string // versions by vault and name
	token   string
	fault   func(w http.ResponseWriter, r *http.Request) bool
	echo    string
}

func newAzure(t *testing.T) *azure {
	t.Helper()
	a := &azure{secrets: map[string][]string{}, token: "good"}
	a.web = httptest.NewUnstartedServer(a)
	a.web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	certificate, pool := authority(t)
	a.web.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	a.web.StartTLS()
	t.Cleanup(a.web.Close)
	// All names lead to the server.
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, a.web.Listener.Addr().String())
	}
	a.client = &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DialContext: dial, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}},
	}
	return a
}

// authority makes a certificate of all vaults.
func authority(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "vaults"}, DNSNames: []string{"*.vault.azure.net"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func (a *azure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.URL.Path == "/elsewhere" {
		a.followed.Add(1)
		return
	}
	if a.fault != nil && a.fault(w, r) {
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+a.token {
		w.Header().Set("WWW-Authenticate", `Bearer authorization="https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000", resource="https://vault.azure.net"`)
		a.refuse(w, http.StatusUnauthorized, "Unauthorized")
		return
	}
	a.read.Add(1)
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/") // secrets/NAME[/VERSION]
	vault, _, _ := strings.Cut(r.Host, ".")
	versions := a.secrets[vault+"/"+parts[1]]
	at := len(versions)
	if len(parts) > 2 && parts[2] != "" {
		if _, err := fmt.Sscanf(parts[2], "%x", &at); err != nil {
			at = 0
		}
	}
	if at < 1 || at > len(versions) {
		a.refuse(w, http.StatusNotFound, "SecretNotFound")
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"value": versions[at-1], "id": fmt.Sprintf("https://%s/secrets/%s/%032x", r.Host, parts[1], at), "attributes": map[string]any{"enabled": true},
	})
}

func (a *azure) refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("X-Detail", a.echo)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code + a.echo, "message": "refused: " + a.echo}})
}

func (a *azure) set(vault, name, value string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.secrets[vault+"/"+name] = append(a.secrets[vault+"/"+name], value)
}

// begin makes every request fail until mend.
func (a *azure) begin(echo string, fault func(w http.ResponseWriter, r *http.Request) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.echo, a.fault = echo, fault
}

func (a *azure) mend() {
	a.begin("", nil)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token = "good"
}

// identity gives tokens without asking anybody.
type identity struct {
	err    error
	token  string
	mu     sync.Mutex
	scopes []string
}

func (i *identity) GetToken(_ context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.scopes = options.Scopes
	return azcore.AccessToken{Token: i.token, ExpiresOn: time.Now().Add(time.Hour)}, i.err
}

func (a *azure) config() *keyvault.Config {
	return &keyvault.Config{
		Credential: &identity{token: "good"}, Transport: a.client, Timeout: time.Minute, Retry: time.Millisecond,
	}
}

func newProvider(t *testing.T, cfg *keyvault.Config) *keyvault.Provider {
	t.Helper()
	p, err := keyvault.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestKeyVaultConforms(t *testing.T) {
	secretstest.Run(t, func(t *testing.T) secretstest.Backend {
		a := newAzure(t)
		cfg := a.config()
		cfg.Timeout = 2 * time.Second
		split := func(ref string) (vault, name string) {
			vault, name, _ = strings.Cut(strings.TrimPrefix(ref, "akv://"), "/")
			return vault, name
		}
		fault := func(answer func(w http.ResponseWriter, content string)) func(*testing.T, string) {
			return func(_ *testing.T, content string) {
				a.begin(content, func(w http.ResponseWriter, _ *http.Request) bool {
					answer(w, content)
					return true
				})
			}
		}
		status := func(code int) func(*testing.T, string) {
			return fault(func(w http.ResponseWriter, _ string) { a.refuse(w, code, "Code") })
		}
		return secretstest.Backend{
			Provider: newProvider(t, cfg),
			Refs:     [2]string{"akv://ktrdr-homelab/db-password", "akv://other-vault/jwt-secret"},
			Set: func(_ *testing.T, ref, value string) {
				vault, name := split(ref)
				a.set(vault, name, value)
			},
			Remove: func(_ *testing.T, ref string) {
				a.mu.Lock()
				defer a.mu.Unlock()
				vault, name := split(ref)
				delete(a.secrets, vault+"/"+name)
			},
			Break: status(500),
			Mend: func(t *testing.T) {
				t.Helper()
				a.mend()
				if a.followed.Load() != 0 {
					t.Error("a redirect was followed")
				}
			},
			Faults: map[secretstest.Fault]func(*testing.T, string){
				secretstest.Denied:      status(403),
				secretstest.Unreachable: fault(secretstest.OtherProtocol),
				secretstest.Failing:     status(503),
				secretstest.Slow: func(_ *testing.T, content string) {
					a.begin(content, func(_ http.ResponseWriter, r *http.Request) bool {
						a.mu.Unlock() // the others go on
						<-r.Context().Done()
						a.mu.Lock()
						return true
					})
				},
				secretstest.WrongType: fault(func(w http.ResponseWriter, content string) {
					w.Header().Set("Content-Type", "text/html")
					_, _ = io.WriteString(w, "<html>"+content+"</html>")
				}),
				secretstest.Garbage: fault(func(w http.ResponseWriter, content string) {
					w.Header().Set("Content-Type", "application/json")
					_, _ = io.WriteString(w, `{"value": 12, "id": "`+content+`"}`)
				}),
				secretstest.Oversized: func(_ *testing.T, content string) {
					a.begin(content, func(w http.ResponseWriter, r *http.Request) bool {
						w.Header().Set("Content-Type", "application/json")
						_, _ = io.WriteString(w, `{"value": "`+strings.Repeat(content, 1<<17)+`", "id": "https://`+r.Host+strings.TrimSuffix(r.URL.Path, "/")+`/`+version(1)+`"}`)
						return true
					})
				},
				secretstest.Redirect: fault(func(w http.ResponseWriter, content string) {
					w.Header().Set("Location", "https://x.vault.azure.net/elsewhere?"+content)
					w.WriteHeader(http.StatusFound)
				}),
				secretstest.Cut: fault(func(w http.ResponseWriter, content string) {
					w.Header().Set("Content-Length", "1000")
					_, _ = io.WriteString(w, `{"value": "`+content)
					_ = http.NewResponseController(w).Flush()
					panic(http.ErrAbortHandler)
				}),
			},
		}
	})
}
