package keyvault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets/fake"
	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/agent/internal/secrets/keyvault"
	"ktrdr.io/fleet/pkg/api"
)

func version(n int) string { return fmt.Sprintf("%032x", n) }

func one(t *testing.T, p secrets.Provider, ref string) secrets.Result {
	t.Helper()
	results, err := p.Resolve(t.Context(), []string{ref})
	if err != nil {
		return secrets.Result{Err: err}
	}
	return results[ref]
}

// Microsoft's own fake, which knows the API's shapes.
func TestOfficialFake(t *testing.T) {
	versions := []string{"first", "second"}
	server := &fake.Server{GetSecret: func(
		_ context.Context, name, version string, _ *azsecrets.GetSecretOptions,
	) (answer azfake.Responder[azsecrets.GetSecretResponse], failed azfake.ErrorResponder) {
		at := len(versions)
		if version != "" {
			if _, err := fmt.Sscanf(version, "%x", &at); err != nil {
				t.Errorf("version %q", version)
			}
		}
		switch {
		case name == "disabled":
			failed.SetResponseError(http.StatusForbidden, "SecretDisabled")
		case name != "db-password" || at > len(versions):
			failed.SetResponseError(http.StatusNotFound, "SecretNotFound")
		default:
			id := azsecrets.ID(fmt.Sprintf("https://ktrdr.vault.azure.net/secrets/%s/%032x", name, at))
			answer.SetResponse(http.StatusOK, azsecrets.GetSecretResponse{Secret: azsecrets.Secret{ID: &id, Value: &versions[at-1]}}, nil)
		}
		return answer, failed
	}}
	p := newProvider(t, &keyvault.Config{Credential: &azfake.TokenCredential{}, Transport: fake.NewServerTransport(server)})
	for ref, want := range map[string]string{
		"akv://ktrdr/db-password": "second", "akv://ktrdr/db-password/" + version(1): "first", "AKV://KTRDR/DB-Password/" + version(2): "second",
	} {
		if got := one(t, p, ref); got.Err != nil || got.Value.Open() != want || got.Version == "" {
			t.Errorf("%s gives %q in %q, %v", ref, got.Value.Open(), got.Version, got.Err)
		}
	}
	for ref, want := range map[string]error{
		"akv://ktrdr/nothing": secrets.ErrNotFound, "akv://ktrdr/db-password/" + version(3): secrets.ErrNotFound,
		"akv://ktrdr/disabled": secrets.ErrDenied, "op://v/i/f": secrets.ErrInvalid,
	} {
		if got := one(t, p, ref); !errors.Is(got.Err, want) {
			t.Errorf("%s gives %v, want %v", ref, got.Err, want)
		}
	}
}

// A secret is asked for once however often it is named, and a failing one fails alone.
func TestRequests(t *testing.T) {
	a := newAzure(t)
	a.set("ktrdr", "a", "1")
	p := newProvider(t, a.config())
	refs := []string{"akv://ktrdr/a", "akv://KTRDR/A", "akv://ktrdr/none", "akv://ktrdr/a/" + version(1)}
	results, err := p.Resolve(t.Context(), refs)
	if err != nil || !errors.Is(results[refs[2]].Err, secrets.ErrNotFound) || results[refs[0]].Value.Open() != "1" || results[refs[1]].Value.Open() != "1" {
		t.Errorf("%v, %v", results, err)
	}
	if got := a.read.Load(); got != 3 {
		t.Errorf("%d requests for 3 secrets", got)
	}
	a.begin("", func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"value": "hunter2", "id": "https://`+r.Host+`/secrets/another/`+version(1)+`"}`)
		return true
	})
	if got := one(t, p, refs[0]); !errors.Is(got.Err, secrets.ErrUnreachable) || !got.Value.IsEmpty() {
		t.Errorf("another secret than the one that was asked for gave %v", got.Err)
	}
	a.mend()
	if sent, failed := p.Requests(); failed != 1 || sent < 4 {
		t.Errorf("%d requests counted, %d failed", sent, failed)
	}
}

// The token is for the domain of the vault only: a vault that asks for one of another
// domain gets none.
func TestChallenge(t *testing.T) {
	a := newAzure(t)
	a.set("ktrdr", "a", "1")
	cfg := a.config()
	id := &identity{token: "good"}
	cfg.Credential = id
	if got := one(t, newProvider(t, cfg), "akv://ktrdr/a"); got.Value.Open() != "1" {
		t.Fatal(got.Err)
	}
	if diff := cmp.Diff([]string{"https://vault.azure.net/.default"}, id.scopes); diff != "" {
		t.Error(diff)
	}
	a.begin("", func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != "" {
			t.Error("the token went to another domain's vault")
		}
		w.Header().Set("WWW-Authenticate", `Bearer authorization="https://login.microsoftonline.com/0", resource="https://vault.example.org"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	if got := one(t, newProvider(t, cfg), "akv://ktrdr/a"); !errors.Is(got.Err, secrets.ErrUnreachable) {
		t.Errorf("got %v", got.Err)
	}
}

func TestNoToken(t *testing.T) {
	a := newAzure(t)
	cfg := a.config()
	cfg.Credential = &identity{err: errors.New("AADSTS7000215: hunter2")}
	got := one(t, newProvider(t, cfg), "akv://ktrdr/a")
	var failed *secrets.Error
	if !errors.Is(got.Err, secrets.ErrDenied) || !errors.As(got.Err, &failed) || failed.Reason != api.ReasonProviderDenied || strings.Contains(got.Err.Error(), "hunter2") {
		t.Errorf("got %v", got.Err)
	}
	cfg.Credential = &identity{token: "revoked"}
	if got := one(t, newProvider(t, cfg), "akv://ktrdr/a"); !errors.Is(got.Err, secrets.ErrDenied) || !strings.Contains(got.Err.Error(), "(401)") {
		t.Errorf("a revoked token gave %v", got.Err)
	}
}

// split sends requests for vaults to the test's Azure and all others to this machine.
type split struct {
	azure *azure
	local *http.Client
}

func (s split) Do(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Host, ".vault.azure.net") {
		return s.azure.client.Do(r)
	}
	return s.local.Do(r)
}

var _ policy.Transporter = split{}

// The real managed identity client, with the endpoint that Azure puts on a machine.
func TestManagedIdentity(t *testing.T) {
	a := newAzure(t)
	a.set("ktrdr", "a", "1")
	var asked atomic.Int32
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("X-IDENTITY-HEADER") != "proof" || r.URL.Query().Get("resource") != "https://vault.azure.net" {
			t.Errorf("asked for %s", r.URL.RawQuery)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"good","expires_on":"4102444800","resource":"https://vault.azure.net","token_type":"Bearer"}`)
	}))
	defer endpoint.Close()
	t.Setenv("IDENTITY_ENDPOINT", endpoint.URL)
	t.Setenv("IDENTITY_HEADER", "proof")
	cfg := &keyvault.Config{Transport: split{a, endpoint.Client()}}
	p := newProvider(t, cfg)
	for range 2 {
		if got := one(t, p, "akv://ktrdr/a"); got.Err != nil || got.Value.Open() != "1" {
			t.Fatalf("got %q, %v", got.Value.Open(), got.Err)
		}
	}
	// The client remembers tokens for as long as the process lives: a second run asks for none.
	if asked.Load() > 1 {
		t.Errorf("asked for a token %d times, want once", asked.Load())
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("AZURE_TENANT_ID", "")
	if _, err := keyvault.New(&keyvault.Config{Auth: keyvault.Environment}); err == nil || !strings.Contains(err.Error(), "AZURE_TENANT_ID") {
		t.Errorf("without variables: %v", err)
	}
	t.Setenv("AZURE_TENANT_ID", "00000000-0000-0000-0000-000000000000")
	t.Setenv("AZURE_CLIENT_ID", "00000000-0000-0000-0000-000000000000")
	t.Setenv("AZURE_CLIENT_SECRET", "hunter2")
	if _, err := keyvault.New(&keyvault.Config{Auth: keyvault.Environment}); err != nil {
		t.Fatal(err)
	}
	if _, still := os.LookupEnv("AZURE_CLIENT_SECRET"); still {
		t.Error("child processes inherit the secret")
	}
}

func TestConfigIsValidated(t *testing.T) {
	bad := keyvault.Config{Auth: "hunter2", ClientID: "x", Domain: "https://x"}
	err := bad.Validate()
	for _, want := range []string{"auth: write", "clientID: must be", "domain: "} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for _, good := range []keyvault.Config{
		{}, {Auth: keyvault.ManagedIdentity, ClientID: "01234567-89ab-cdef-0123-456789abcdef"}, {Auth: keyvault.Environment, Domain: "vault.azure.cn"},
	} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
}
