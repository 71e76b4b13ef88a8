package access_test

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/controller/access"
	"ktrdr.io/fleet/pkg/wire/pki"
)

func web(g *access.Guard) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/push", g.HTTP(access.Route{Rule: access.Rule{Least: access.Operator}, What: "git push"},
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			caller, _ := access.CallerFrom(r.Context())
			access.Note(r.Context(), "main", "")
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, caller.String())
		})))
	mux.Handle("/panic", g.HTTP(access.Route{Rule: access.Rule{Least: access.Viewer}, What: "panic"},
		http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("planted") })))
	mux.Handle("/late", g.HTTP(access.Route{Rule: access.Rule{Least: access.Viewer}, What: "late"},
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half of")
			_ = http.NewResponseController(w).Flush()
			panic("planted")
		})))
	return mux
}

type answer struct {
	code int
	body string
	head http.Header
}

func (s *site) get(t *testing.T, path string, c *pki.Credentials, set func(*http.Request)) (answer, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: s.config(c)}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.addr+path, nil)
	must(t, err)
	set(req)
	resp, err := (&http.Client{Transport: transport, Timeout: 2 * time.Minute}).Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(body), resp.Header}, err
}

func TestHTTP(t *testing.T) {
	s := serve(t, registerFleet, web)
	cert, token := s.operator(t, "karl", access.Operator)
	viewer, viewerToken := s.operator(t, "vera", access.Viewer)
	node := s.node(t, "b")
	gone := s.node(t, "c")
	s.book.change(func(b *book) { delete(b.nodes, "c") })
	none := func(*http.Request) {}
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	tests := map[string]struct {
		cert *pki.Credentials
		set  func(*http.Request)
		code int
	}{
		"certificate":                            {cert, none, 200},
		"basic":                                  {nil, basic("whoever", token.Text()), 200},
		"bearer":                                 {nil, bearer(token.Text()), 200},
		"nobody":                                 {nil, none, 401},
		"wrong password":                         {nil, basic("karl", pki.NewOperatorToken().Text()), 401},
		"viewer":                                 {viewer, none, 403},
		"viewer by token":                        {nil, bearer(viewerToken.Text()), 403},
		"node":                                   {node, none, 403},
		"removed node":                           {gone, none, 401},
		"removed node with good token":           {gone, bearer(token.Text()), 401},
		"viewer's certificate, operator's token": {viewer, bearer(token.Text()), 403},
	}
	for name, tc := range tests {
		got, err := s.get(t, "/push", tc.cert, tc.set)
		must(t, err)
		if got.code != tc.code {
			t.Errorf("%s: %d, want %d", name, got.code, tc.code)
		}
		if got.code == 200 && got.body != "operator/karl" {
			t.Errorf("%s: the handler took the caller for %q", name, got.body)
		}
		if (got.code == 401) != (got.head.Get("WWW-Authenticate") != "") {
			t.Errorf("%s: WWW-Authenticate is %q", name, got.head.Get("WWW-Authenticate"))
		}
	}
	for _, e := range s.book.trail() {
		if e.What != "git push" || (e.Result == "ok") != (e.Target == "main") {
			t.Errorf("entry %+v", e)
		}
	}
	if n := len(s.book.trail()); n != len(tests) {
		t.Errorf("the trail has %d entries, want %d", n, len(tests))
	}
}

func TestHTTPPanics(t *testing.T) {
	s := serve(t, registerFleet, web)
	cert, _ := s.operator(t, "karl", access.Operator)
	none := func(*http.Request) {}
	got, err := s.get(t, "/panic", cert, none)
	if err != nil || got.code != 500 {
		t.Errorf("a panic was answered with %+v, %v", got, err)
	}
	// Half an answer must not look like a whole one.
	if got, err := s.get(t, "/late", cert, none); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a panic in the middle was answered with %+v, %v", got, err)
	}
	for _, e := range s.book.trail() {
		if e.Result != "500" {
			t.Errorf("the trail says %q", e.Result)
		}
	}
}

func TestHTTPStrangersAreLimited(t *testing.T) {
	s := serveLimited(t, access.Limits{Burst: 2, Pause: time.Hour}, registerFleet, web)
	last := 0
	for range 3 {
		got, err := s.get(t, "/push", nil, func(r *http.Request) { r.SetBasicAuth("git", pki.NewOperatorToken().Text()) })
		must(t, err)
		last = got.code
	}
	if last != 429 {
		t.Errorf("the third guess was answered with %d", last)
	}
}
