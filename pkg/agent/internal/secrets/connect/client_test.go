package connect_test

import (
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/agent/internal/secrets/connect"
	"ktrdr.io/fleet/pkg/api"
	server "ktrdr.io/fleet/test/connect"
)

const ref = prefix + "db_password"

// Troubles that pass are not believed at once.
func TestPassingTroubles(t *testing.T) {
	for name, q := range map[string]server.Quirks{
		"false 401 after a restart": {FalseUnauthorized: 1},
		"403 now and then":          {ForbiddenEvery: 2},
		"not synced yet":            {SyncingFor: 2},
		"late first answer":         {LateFirst: 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.set(t, "db_password", "hunter2")
			w.quirks(q)
			p := w.provider(t)
			if got := one(t, p, ref); got.Err != nil || got.Value.Open() != "hunter2" {
				t.Errorf("got %q, %v", got.Value.Open(), got.Err)
			}
		})
	}
}

// How often each trouble is asked again, and what it is called.
func TestTroublesThatStay(t *testing.T) {
	for name, c := range map[string]struct {
		quirks server.Quirks
		asked  int
		is     error
		reason api.Reason
		class  api.ErrorClass
		says   string
	}{
		"400":      {server.Quirks{Status: 400}, 1, secrets.ErrUnreachable, api.ReasonProviderDown, api.Waiting, "(400)"},
		"401":      {server.Quirks{Status: 401}, 2, secrets.ErrDenied, api.ReasonProviderDenied, api.Waiting, "put a new one into "},
		"403":      {server.Quirks{Status: 403}, 3, secrets.ErrDenied, api.ReasonProviderDenied, api.Waiting, "access to the vault"},
		"404":      {server.Quirks{Status: 404}, 1, secrets.ErrNotFound, api.ReasonProviderDown, api.Transient, "secrets.connect.url"},
		"429":      {server.Quirks{Status: 429}, 3, secrets.ErrUnreachable, api.ReasonProviderDown, api.Transient, "(429)"},
		"500":      {server.Quirks{Status: 500}, 3, secrets.ErrUnreachable, api.ReasonProviderDown, api.Transient, "(500)"},
		"502 page": {server.Quirks{HTML: 502}, 3, secrets.ErrUnreachable, api.ReasonProviderDown, api.Transient, "(502)"},
		"200 page": {server.Quirks{HTML: 200}, 3, secrets.ErrUnreachable, api.ReasonProviderDown, api.Transient, "login page"},
		"redirect": {server.Quirks{Redirect: "https://example.org/"}, 1, secrets.ErrUnreachable, api.ReasonProviderDown, api.Waiting, "(302)"},
		"hangs":    {server.Quirks{Hang: true}, 1, secrets.ErrUnreachable, api.ReasonProviderDown, api.Transient, "within 3s"},
		"too much": {server.Quirks{Oversized: 1 << 40}, 1, secrets.ErrUnreachable, api.ReasonProviderDown, api.Waiting, "more than 8388608 bytes"},
		"cut":      {server.Quirks{CutAfter: 9}, 3, secrets.ErrUnreachable, api.ReasonProviderDown, api.Transient, "too early"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.set(t, "db_password", "hunter2")
			w.quirks(c.quirks)
			p := w.provider(t, func(cfg *connect.Config) {
				if c.quirks.Hang {
					cfg.Timeout = 3 * time.Second // enough for the question to get there
				}
			})
			err := one(t, p, ref).Err
			var failed *secrets.Error
			if !errors.Is(err, c.is) || !errors.As(err, &failed) || failed.Reason != c.reason || failed.Class != c.class || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v (%+v)", err, failed)
			}
			if got := w.Counts()[vaultList]; got != c.asked {
				t.Errorf("asked %d times, want %d", got, c.asked)
			}
			if sent, bad := p.Requests(); sent != uint64(c.asked) || bad != sent { //nolint:gosec // small
				t.Errorf("counted %d requests, %d of them failed", sent, bad)
			}
		})
	}
}

func TestConnections(t *testing.T) {
	w := newWorld(t)
	w.set(t, "db_password", "hunter2")
	plain := httptest.NewServer(w.Server)
	defer plain.Close()
	for name, c := range map[string]struct {
		change func(*connect.Config)
		says   string
	}{
		"good":              {func(*connect.Config) {}, ""},
		"with /v1":          {func(c *connect.Config) { c.URL += "/v1/" }, ""},
		"http, loopback":    {func(c *connect.Config) { c.URL = plain.URL }, ""},
		"unknown authority": {func(c *connect.Config) { c.CAFile = "" }, "secrets.connect.caFile"},
		"another name":      {func(c *connect.Config) { c.URL = strings.Replace(c.URL, "127.0.0.1", "localhost", 1) }, "certificate of another name"},
		"no TLS there":      {func(c *connect.Config) { c.URL = strings.Replace(plain.URL, "http:", "https:", 1) }, "does not speak TLS"},
		"nobody there":      {func(c *connect.Config) { c.URL = "https://127.0.0.1:1" }, "connection refused"},
		"no such name":      {func(c *connect.Config) { c.URL = "https://connect.invalid" }, "name is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			got := one(t, w.provider(t, c.change), ref)
			if c.says == "" {
				if got.Err != nil || got.Value.Open() != "hunter2" {
					t.Errorf("got %q, %v", got.Value.Open(), got.Err)
				}
				return
			}
			if !errors.Is(got.Err, secrets.ErrUnreachable) || !strings.Contains(got.Err.Error(), c.says) {
				t.Errorf("got %v", got.Err)
			}
		})
	}
}

// The server's audit log says which node asked.
func TestUserAgent(t *testing.T) {
	w := newWorld(t)
	w.set(t, "db_password", "hunter2")
	one(t, w.provider(t, func(c *connect.Config) { c.Node = "node-ü\n)" }), ref)
	log := w.Requests()
	if len(log) == 0 || log[0].Actor.UserAgent != "ktrdr-agent/"+api.Version+" (node node-___)" {
		t.Errorf("log %+v", log)
	}
}

func TestTokenScopeAndExpiry(t *testing.T) {
	w := newWorld(t)
	w.set(t, "db_password", "hunter2")
	p := w.provider(t)
	if p.Token() != nil {
		t.Error("a token that was not read says something")
	}
	one(t, p, ref)
	want := &api.TokenState{Vaults: []api.VaultScope{{ID: w.vault, Name: vaultName}}}
	if diff := cmp.Diff(want, p.Token()); diff != "" {
		t.Error(diff)
	}
	// The next look takes a new token, without a restart.
	expires := time.Now().Add(72 * time.Hour).Truncate(time.Second).UTC()
	w.grant(t, server.Grant{Vaults: []string{w.vault, strings.Repeat("x", 26)}, Expires: expires})
	one(t, p, ref)
	want = &api.TokenState{Expires: expires, Vaults: []api.VaultScope{{ID: w.vault, Name: vaultName}, {ID: strings.Repeat("x", 26)}}}
	if diff := cmp.Diff(want, p.Token()); diff != "" {
		t.Error(diff)
	}
	w.grant(t, server.Grant{Vaults: []string{w.vault}, Expires: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)})
	if err := one(t, p, ref).Err; !errors.Is(err, secrets.ErrDenied) || !strings.Contains(err.Error(), "expired on 2026-01-02") {
		t.Errorf("an expired token gave %v", err)
	}
}

func TestTokenPlaces(t *testing.T) {
	w := newWorld(t)
	w.set(t, "db_password", "hunter2")
	token, err := os.ReadFile(w.tokenFile)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("credential", func(t *testing.T) {
		t.Setenv("CREDENTIALS_DIRECTORY", filepath.Dir(w.tokenFile))
		p := w.provider(t, func(c *connect.Config) { c.Token = connect.TokenConfig{Credential: "token"} })
		if got := one(t, p, ref); got.Value.Open() != "hunter2" {
			t.Error(got.Err)
		}
		t.Setenv("CREDENTIALS_DIRECTORY", "")
		if err := one(t, p, ref).Err; err == nil || !strings.Contains(err.Error(), "LoadCredential=token:FILE") {
			t.Errorf("without a credential: %v", err)
		}
	})
	t.Run("variable", func(t *testing.T) {
		t.Setenv("TEST_CONNECT_TOKEN", string(token))
		p := w.provider(t, func(c *connect.Config) { c.Token = connect.TokenConfig{Env: "TEST_CONNECT_TOKEN"} })
		if got := one(t, p, ref); got.Value.Open() != "hunter2" {
			t.Error(got.Err)
		}
		if _, still := os.LookupEnv("TEST_CONNECT_TOKEN"); still {
			t.Error("child processes inherit the token")
		}
	})
	p := w.provider(t)
	for name, c := range map[string]struct{ text, says string }{
		"another file":  {`{"verifier": "hunter2"}`, "op connect token create"},
		"empty":         {" \n", "is empty"},
		"service token": {"ops_hunter2", "op connect token create"},
		"too large":     {strings.Repeat("hunter2", 10_000), "larger than"},
		"not a claim":   {"a.hunter2.c", "refuses the token"},
	} {
		writeFile(t, w.tokenFile, c.text)
		if err := one(t, p, ref).Err; err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	writeFile(t, w.tokenFile, string(token))
	if err := os.Chmod(w.tokenFile, 0o640); err != nil { //nolint:gosec // that is the fault
		t.Fatal(err)
	}
	if err := one(t, p, ref).Err; !errors.Is(err, secrets.ErrDenied) || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a token that others can read gave %v", err)
	}
}

func TestConfigIsValidated(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  connect.Config
		want []string
	}{
		"nothing":      {connect.Config{}, []string{"url: must be the address", "tokenFile: set one of"}},
		"no scheme":    {connect.Config{URL: "connect:8080"}, []string{"url: must be the address"}},
		"http":         {connect.Config{URL: "http://connect.example.org"}, []string{"url: http to connect.example.org", "allowHTTP"}},
		"password":     {connect.Config{URL: "https://u:hunter2@h"}, []string{"url: must have no user"}},
		"two tokens":   {connect.Config{URL: "https://h", Token: connect.TokenConfig{File: "/a", Env: "B"}}, []string{"tokenEnv: set only one of tokenFile and tokenEnv"}},
		"relative":     {connect.Config{URL: "https://h", Token: connect.TokenConfig{File: "a"}}, []string{"tokenFile: \"a\" must be an absolute path"}},
		"token pasted": {connect.Config{URL: "https://h", Token: connect.TokenConfig{Env: "hunter2.hunter2.hunter2"}}, []string{"tokenEnv: must be the name"}},
		"a path":       {connect.Config{URL: "https://h", Token: connect.TokenConfig{Credential: "../token"}}, []string{"tokenCredential: must be the name"}},
	} {
		err := c.cfg.Validate()
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", name, err, want)
			}
		}
	}
	for _, good := range []connect.Config{
		{URL: "https://h:8443/", Token: connect.TokenConfig{File: "/a"}},
		{URL: "http://localhost:8080", Token: connect.TokenConfig{Env: "OP_CONNECT_TOKEN"}},
		{URL: "http://[::1]:8080", Token: connect.TokenConfig{Credential: "connect-token"}},
		{URL: "http://connect", AllowHTTP: true, Token: connect.TokenConfig{Credential: "connect-token"}},
	} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	w := newWorld(t)
	cfg := w.config()
	cfg.CAFile = w.tokenFile
	if _, err := connect.New(cfg); err == nil || !strings.Contains(err.Error(), "caFile: ") {
		t.Errorf("a file without a certificate gave %v", err)
	}
}

// Versions are not trusted for ever: some proxy may answer with an old list.
func TestRecheck(t *testing.T) {
	w := newWorld(t)
	w.set(t, "db_password", "hunter2")
	p := w.provider(t, func(c *connect.Config) { c.Recheck = time.Nanosecond })
	for range 2 {
		w.ForgetCounts()
		one(t, p, ref)
		if diff := cmp.Diff(map[string]int{vaultList: 1, itemList: 1, itemGet: 1}, w.Counts()); diff != "" {
			t.Error(diff)
		}
	}
}
