package access_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/controller/access"
	"ktrdr.io/fleet/pkg/wire/pki"
)

// FuzzAuthorization shows anything as who one is, by HTTP: nobody gets in but who has a token,
// and strangers are told one sentence.
func FuzzAuthorization(f *testing.F) {
	token := pki.NewOperatorToken()
	for _, text := range []string{
		"", "Bearer", "Bearer " + token.Text(), "bearer  " + token.Text(), "Basic", "Basic Og==", "Basic \xff", "Bearer ktrdr-op-1.a.b", "Bearer ktrdr-op-1..", token.Text(),
	} {
		f.Add(text)
	}
	r := httptest.NewRequestWithContext(f.Context(), http.MethodGet, "/", nil)
	r.SetBasicAuth("git", token.Text())
	f.Add(r.Header.Get("Authorization"))
	b := newBook()
	b.people["karl"], b.tokens[token.Hash()] = access.Person{Name: "karl", Role: access.Operator}, "karl"
	guard := access.New(access.Config{Directory: b, Trail: discard{}, Strangers: access.Limits{Burst: 1 << 30, Pause: time.Second}, Log: slog.New(slog.DiscardHandler)})
	handler := web(guard)
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/push", nil)
		r.TLS = &tls.ConnectionState{}
		r.Header["Authorization"] = []string{header}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		_, password, _ := r.BasicAuth()
		holds := header != "" && (password == token.Text() || len(header) >= len(token.Text()) && header[len(header)-len(token.Text()):] == token.Text())
		switch {
		case w.Code == http.StatusOK && holds && w.Body.String() == "operator/karl":
		case w.Code == http.StatusUnauthorized && w.Header().Get("WWW-Authenticate") != "":
		default:
			t.Fatalf("%q: %d %s", header, w.Code, w.Body)
		}
	})
}

// discard is a trail that nobody reads.
type discard struct{}

func (discard) Record(context.Context, access.Entry) error { return nil }
