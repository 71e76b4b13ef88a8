package connect_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/secrets/connect"
)

// FuzzAnswers gives anything as what a Connect server answers. No error repeats what it said.
func FuzzAnswers(f *testing.F) {
	const id = "abcdefghijklmnopqrstuvwxyz"
	for _, seed := range [][3]string{
		{`[{"id":"` + id + `","name":"v","contentVersion":1}]`, `[{"id":"` + id + `","title":"i","version":1}]`, `{"id":"` + id + `","fields":[{"id":"f","label":"password","value":"x"}]}`},
		{`[{"id":"` + id + `","name":"v"}]`, `[{"id":"` + id + `","title":"i"},{"id":"","title":"i","state":"ARCHIVED"}]`, `{"id":"` + id + `","sections":[null],"fields":[null,{"section":null,"label":"password"}],"files":[null,{"name":"password"}]}`},
		{`null`, `[null]`, `{}`},
		{`[{}]`, `[{}]`, `null`},
		{`[{"name":"v","id":"../../x"}]`, `[{"title":"i","id":"a/../b"}]`, `x`},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	var vaults, items, item string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := item
		switch {
		case strings.HasSuffix(r.URL.Path, "/vaults"):
			answer = vaults
		case strings.HasSuffix(r.URL.Path, "/items"):
			answer = items
		}
		_, _ = w.Write([]byte(answer))
	}))
	server.Config.SetKeepAlivesEnabled(false) // each run makes a provider of its own
	f.Cleanup(server.Close)
	token := filepath.Join(f.TempDir(), "token")
	writeFile(f, token, "a.b.c")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		vaults, items, item = a, b, c
		p, err := connect.New(&connect.Config{URL: server.URL, Token: connect.TokenConfig{File: token}, Retry: time.Microsecond, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second look remembers the first
			refs := []string{"op://v/i/password", "op://v/i/one/password", "op://v/i/password?attribute=otp"}
			results, err := p.Resolve(t.Context(), refs)
			for _, ref := range refs {
				result, told := results[ref]
				if err == nil && !told {
					t.Fatalf("nothing is told of %s", ref)
				}
				if told && result.Err == nil && result.Value.Open() == "" {
					t.Fatalf("%s is resolved to nothing", ref)
				}
			}
		}
	})
}
