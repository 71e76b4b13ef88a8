package source_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/pkg/source/sourcetest"
)

// noSecret wants an error, in no form, to show the token.
func noSecret(t testing.TB, err error, token string) {
	t.Helper()
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v %#v", err, err)} {
		for _, secret := range []string{token, base64.StdEncoding.EncodeToString([]byte("git:" + token))} {
			if strings.Contains(text, secret) {
				t.Errorf("the error shows the token: %s", text)
			}
		}
	}
}

func TestHTTPSTokens(t *testing.T) {
	t.Parallel()
	r := newHTTPSRepo(t)
	r.commit(t, state("1"))
	g := r.open(t, nil)
	fetchOK(t, g)

	// Rotated on the server first, then in the file.
	r.setToken("n3w-token")
	_, err := g.Fetch(t.Context(), "")
	wantError(t, err, source.ReasonAuthentication, "401", "token")
	noSecret(t, err, "s3cr3t-token")
	write(t, r.tokens, "n3w-token\n")
	fetchOK(t, g)

	for _, bad := range []struct{ content, want string }{
		{"", "empty"}, {" \n", "empty"}, {"a\nb", "control character"},
	} {
		write(t, r.tokens, bad.content)
		refused(t, g, source.ReasonAuthentication, bad.want)
	}
	if err := os.Remove(r.tokens); err != nil {
		t.Fatal(err)
	}
	refused(t, g, source.ReasonAuthentication, r.tokens)
	refused(t, r.open(t, func(c *source.GitConfig) { c.HTTP.TokenFile = "" }), source.ReasonAuthentication, "no token is configured")
	fetchOK(t, r.open(t, func(c *source.GitConfig) {
		c.HTTP.TokenFile, c.HTTP.Token = "", func() (string, error) { return "n3w-token", nil }
	}))
}

// answer makes the server say something else than git would.
func (r *httpsRepo) answer(h http.HandlerFunc) { r.before.Store(&h) }

func TestHTTPSServerThatEchoesTheToken(t *testing.T) {
	t.Parallel()
	r := newHTTPSRepo(t)
	r.commit(t, state("1"))
	g := r.open(t, nil)
	echo := func(req *http.Request) string {
		_, password, _ := req.BasicAuth()
		return req.Header.Get("Authorization") + " " + password
	}
	for name, h := range map[string]http.HandlerFunc{
		"status":   func(w http.ResponseWriter, req *http.Request) { http.Error(w, echo(req), http.StatusTeapot) },
		"page":     func(w http.ResponseWriter, req *http.Request) { fmt.Fprint(w, "<html>"+echo(req)) },
		"pkt-line": func(w http.ResponseWriter, req *http.Request) { fmt.Fprint(w, pkt("ERR "+echo(req))) },
		"header": func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Location", "/"+echo(req))
			w.WriteHeader(302)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r.answer(h)
			_, err := g.Fetch(t.Context(), "")
			if err == nil {
				t.Fatal("no error")
			}
			noSecret(t, err, "s3cr3t-token")
		})
	}
}

func pkt(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }

func TestHTTPSRedirects(t *testing.T) {
	t.Parallel()
	r := newHTTPSRepo(t)
	id := r.commit(t, state("1"))
	var stolen []string
	var mu sync.Mutex
	thief := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		stolen = append(stolen, req.URL.Path+" "+req.Header.Get("Authorization"))
	}))
	defer thief.Close()
	r.answer(func(w http.ResponseWriter, req *http.Request) {
		http.Redirect(w, req, thief.URL+req.URL.RequestURI(), http.StatusMovedPermanently)
	})
	g := r.open(t, nil)
	if _, err := g.Fetch(t.Context(), ""); err == nil {
		t.Error("a redirect to another host was followed")
	}
	mu.Lock()
	if len(stolen) > 0 {
		t.Errorf("the other host was asked: %v", stolen)
	}
	mu.Unlock()
	// A repository that was renamed on the same forge.
	r.answer(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasPrefix(req.URL.Path, "/old.git/") {
			http.Redirect(w, req, strings.Replace(req.URL.RequestURI(), "/old.git/", "/fleet.git/", 1), http.StatusMovedPermanently)
			return
		}
		r.serve(w, req)
	})
	got := fetchOK(t, r.open(t, func(c *source.GitConfig) { c.URL = r.server.URL + "/old.git" }))
	if got.Revision.ID != id {
		t.Errorf("renamed repository: %s, want %s", got.Revision.ID, id)
	}
}

func TestHTTPSCertificates(t *testing.T) {
	t.Parallel()
	r := newHTTPSRepo(t)
	r.commit(t, state("1"))
	ca := r.reach(t).HTTP.CAFile
	g := r.open(t, func(c *source.GitConfig) { c.HTTP.CAFile = filepath.Join(r.base, "own.pem") })
	refused(t, g, source.ReasonInvalid, "own.pem")
	write(t, filepath.Join(r.base, "own.pem"), "rubbish")
	refused(t, g, source.ReasonInvalid, "no PEM certificate")
	data, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(r.base, "own.pem"), string(data))
	fetchOK(t, g)
	write(t, filepath.Join(r.base, "own.pem"), "rubbish again")
	refused(t, g, source.ReasonInvalid, "no PEM certificate")
	refused(t, r.open(t, func(c *source.GitConfig) { c.HTTP.CAFile = "" }), source.ReasonCertificate, "http.caFile")
	refused(t, r.open(t, func(c *source.GitConfig) { c.URL = strings.Replace(c.URL, "127.0.0.1", "localhost", 1) }), source.ReasonCertificate, "localhost")
}

// A connection that is cut inside the pack costs one round and leaves nothing behind.
func TestHTTPSCutTransfer(t *testing.T) {
	t.Parallel()
	r := newHTTPSRepo(t)
	r.commit(t, sourcetest.Files{"big": sourcetest.Text(noise(300_000))})
	cache := filepath.Join(t.TempDir(), "cache")
	g := r.open(t, func(c *source.GitConfig) { c.CacheDir = cache })
	r.answer(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/info/refs") {
			r.serve(w, req)
			return
		}
		rec := httptest.NewRecorder()
		r.serve(rec, req)
		_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
		panic(http.ErrAbortHandler)
	})
	refused(t, g, source.ReasonUnreachable)
	// The same with an end that looks regular.
	r.answer(func(w http.ResponseWriter, req *http.Request) {
		rec := httptest.NewRecorder()
		r.serve(rec, req)
		body := rec.Body.Bytes()
		if !strings.HasSuffix(req.URL.Path, "/info/refs") {
			body = body[:len(body)/2]
		}
		_, _ = w.Write(body)
	})
	refused(t, g, source.ReasonUnreachable)
	r.before.Store(nil)
	fetchOK(t, g)
	if left, err := filepath.Glob(filepath.Join(cache, "git/objects/pack/tmp*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestHTTPSBrokenServers(t *testing.T) {
	t.Parallel()
	r := newHTTPSRepo(t)
	id := r.commit(t, state("1"))
	refs := pkt("# service=git-upload-pack\n") + "0000" +
		pkt(id+" refs/heads/main\x00side-band-64k shallow ofs-delta agent=x\n") + "0000"
	head := func(count string) string { return "PACK\x00\x00\x00\x02" + count }
	for name, answer := range map[string]string{
		"nothing":               "",
		"no pack":               "rubbish",
		"no objects":            head("\x00\x00\x00\x00") + strings.Repeat("\x00", 20),
		"four billion objects":  head("\xff\xff\xff\xff") + strings.Repeat("x", 500),
		"objects of rubbish":    head("\x00\x00\x00\x03") + strings.Repeat("\x95", 500),
		"one object of 2^60":    head("\x00\x00\x00\x01") + "\xbf\xff\xff\xff\xff\xff\xff\xff\x7f" + strings.Repeat("x", 500),
		"delta of what is not":  head("\x00\x00\x00\x01") + "\x75" + strings.Repeat("\x11", 20) + "x\x9c\x03\x00\x00\x00\x00\x01",
		"delta before the pack": head("\x00\x00\x00\x01") + "\x65\xff\xff\x7f" + "x\x9c\x03\x00\x00\x00\x00\x01",
	} {
		t.Run(name, func(t *testing.T) {
			r.answer(func(w http.ResponseWriter, req *http.Request) {
				if strings.HasSuffix(req.URL.Path, "/info/refs") {
					fmt.Fprint(w, refs)
					return
				}
				fmt.Fprint(w, pkt("shallow "+id)+"0000"+pkt("NAK\n")+pkt("\x01"+answer)+"0000")
			})
			_, err := r.open(t, nil).Fetch(t.Context(), "")
			if got := source.ReasonOf(err); got != source.ReasonUnreachable && got != source.ReasonTooLarge {
				t.Errorf("Fetch = %v (%s)", err, got)
			}
		})
	}
}

func TestHungHTTPS(t *testing.T) {
	t.Parallel()
	r := newHTTPSRepo(t)
	r.commit(t, sourcetest.Files{"big": sourcetest.Text(noise(300_000))})
	addr := mute(t)
	hangs(t, r.open(t, func(c *source.GitConfig) { c.URL = "https://" + addr + "/fleet.git" }))

	r.answer(func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
	hangs(t, r.open(t, nil))

	r.answer(func(w http.ResponseWriter, req *http.Request) {
		rec := httptest.NewRecorder()
		r.serve(rec, req)
		body := rec.Body.Bytes()
		if strings.HasSuffix(req.URL.Path, "/info/refs") {
			_, _ = w.Write(body)
			return
		}
		_, _ = w.Write(body[:len(body)/2])
		_ = http.NewResponseController(w).Flush()
		<-req.Context().Done()
	})
	g := r.open(t, nil)
	hangs(t, g)
	r.before.Store(nil)
	fetchOK(t, g)
}
