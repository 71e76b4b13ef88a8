package connect_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/agent/internal/secrets/connect"
	"ktrdr.io/fleet/pkg/agent/internal/secrets/secretstest"
	server "ktrdr.io/fleet/test/connect"
)

// The user's real names.
const (
	vaultName = "KTRDR Homelab Secrets"
	itemTitle = "ktrdr-homelab-core"
	prefix    = "op://" + vaultName + "/" + itemTitle + "/"
)

// world is a stand-in server over TLS with the user's vault, and a token file for it.
type world struct {
	*server.Server
	web               *httptest.Server
	vault, item       string
	tokenFile, caFile string
	elsewhere         *httptest.Server
	followed          atomic.Int32
	down              atomic.Pointer[string] // what another server says
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := server.New()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Server: s}
	w.begin(t)
	return w
}

// begin adds the user's vault and item, and serves.
func (w *world) begin(t testing.TB) {
	t.Helper()
	w.vault = w.AddVault(server.Vault{Name: vaultName})
	w.AddVault(server.Vault{Name: "Far away"})
	w.item = w.add(t, server.Item{Title: itemTitle})
	w.web = httptest.NewUnstartedServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if what := w.down.Load(); what != nil {
			secretstest.OtherProtocol(out, *what)
			return
		}
		w.ServeHTTP(out, r)
	}))
	w.web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // bad handshakes are part of tests
	w.web.StartTLS()
	t.Cleanup(w.web.Close)
	w.elsewhere = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { w.followed.Add(1) }))
	t.Cleanup(w.elsewhere.Close)
	dir := t.TempDir()
	w.tokenFile, w.caFile = filepath.Join(dir, "token"), filepath.Join(dir, "ca.pem")
	writeFile(t, w.caFile, certificate(w.web.Certificate()))
	w.grant(t, server.Grant{Vaults: []string{w.vault}})
}

func certificate(c *x509.Certificate) string {
	var out bytes.Buffer
	_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	return out.String()
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// grant writes a new token.
func (w *world) grant(t testing.TB, g server.Grant) string {
	t.Helper()
	token, err := w.Issue(g)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, w.tokenFile, token+"\n")
	return token
}

func (w *world) add(t testing.TB, it server.Item) string {
	t.Helper()
	id, err := w.AddItem(w.vault, it)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (w *world) set(t *testing.T, label, value string) {
	t.Helper()
	if err := w.Set(w.vault, w.item, label, value); err != nil {
		t.Fatal(err)
	}
}

func (w *world) quirks(q server.Quirks) {
	w.SetQuirks(func(now *server.Quirks) { *now = q })
	w.Restart()
}

func (w *world) config() *connect.Config {
	return &connect.Config{
		URL: w.web.URL, CAFile: w.caFile, Token: connect.TokenConfig{File: w.tokenFile}, Node: "b",
		Retry: time.Millisecond, Timeout: time.Minute,
	}
}

func (w *world) provider(t testing.TB, change ...func(*connect.Config)) *connect.Provider {
	t.Helper()
	cfg := w.config()
	for _, c := range change {
		c(cfg)
	}
	p, err := connect.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// one resolves one reference.
func one(t *testing.T, p secrets.Provider, ref string) secrets.Result {
	t.Helper()
	results, err := p.Resolve(t.Context(), []string{ref})
	if err != nil {
		return secrets.Result{Err: err}
	}
	return results[ref]
}

func TestConnectConforms(t *testing.T) {
	secretstest.Run(t, func(t *testing.T) secretstest.Backend {
		w := newWorld(t)
		token, err := os.ReadFile(w.tokenFile)
		if err != nil {
			t.Fatal(err)
		}
		label := func(ref string) string { return ref[strings.LastIndex(ref, "/")+1:] }
		fault := func(set func(q *server.Quirks)) func(*testing.T, string) {
			return func(_ *testing.T, content string) {
				w.SetQuirks(func(q *server.Quirks) { q.Echo = content; set(q) })
			}
		}
		mend := func(t *testing.T) {
			t.Helper()
			w.SetQuirks(func(q *server.Quirks) { *q = server.Quirks{} })
			w.down.Store(nil)
			writeFile(t, w.tokenFile, string(token))
			if w.followed.Load() != 0 {
				t.Error("a redirect was followed")
			}
		}
		return secretstest.Backend{
			Provider: w.provider(t, func(c *connect.Config) { c.Timeout = 3 * time.Second }),
			Refs:     [2]string{prefix + "db_password", prefix + "jwt_secret"},
			Set:      func(t *testing.T, ref, value string) { t.Helper(); w.set(t, label(ref), value) },
			Remove: func(t *testing.T, ref string) {
				t.Helper()
				err := w.Edit(w.vault, w.item, func(it *server.Item) {
					for i := range it.Fields {
						if it.Fields[i].Label == label(ref) {
							it.Fields[i].Label = "gone"
						}
					}
				})
				if err != nil {
					t.Fatal(err)
				}
			},
			Break: fault(func(q *server.Quirks) { q.Status = 500 }),
			Mend:  mend,
			Duplicate: func(t *testing.T, ref, value string) {
				t.Helper()
				w.add(t, server.Item{Title: itemTitle, Fields: []server.Field{{Label: label(ref), Value: value}}})
			},
			Faults: map[secretstest.Fault]func(*testing.T, string){
				secretstest.Denied: func(t *testing.T, content string) {
					t.Helper()
					fault(func(*server.Quirks) {})(t, content)
					w.Revoke(w.grant(t, server.Grant{Vaults: []string{w.vault}}))
				},
				secretstest.Unreachable: func(_ *testing.T, content string) { w.down.Store(&content) },
				secretstest.Failing:     fault(func(q *server.Quirks) { q.Syncing = true }),
				secretstest.Slow:        fault(func(q *server.Quirks) { q.Hang = true }),
				secretstest.WrongType:   fault(func(q *server.Quirks) { q.HTML = 200 }),
				secretstest.Garbage: func(t *testing.T, content string) {
					t.Helper()
					fault(func(q *server.Quirks) { q.Garbage = `[{"id":"` + content + `","contentVersion":"` + content + `"}]` })(t, content)
				},
				secretstest.Oversized: fault(func(q *server.Quirks) { q.Oversized = 9 << 20 }),
				secretstest.Redirect:  fault(func(q *server.Quirks) { q.Redirect = w.elsewhere.URL + "/?" + q.Echo }),
				secretstest.Cut:       fault(func(q *server.Quirks) { q.CutAfter = 20 }),
			},
		}
	})
}
