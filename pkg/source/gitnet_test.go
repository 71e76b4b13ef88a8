package source_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

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
	err := refused(t, g, source.ReasonAuthentication, "401", "token")
	noSecret(t, err, "s3cr3t-token")
	write(t, r.tokens, "n3w-token\n")
	fetchOK(t, g)

	for content, want := range map[string]string{"": "empty", " \n": "empty", "a\nb": "control character"} {
		write(t, r.tokens, content)
		refused(t, g, source.ReasonAuthentication, want)
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
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
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

// mute accepts connections and never says a word.
func mute(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		var open []net.Conn
		defer func() {
			for _, c := range open {
				_ = c.Close()
			}
		}()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open = append(open, c)
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

// hangs wants Fetch to be back soon after its deadline, and canceling to end it as well.
func hangs(t testing.TB, g *source.Git) {
	t.Helper()
	const limit = 300 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	start := time.Now()
	_, err := g.Fetch(ctx, "")
	if took := time.Since(start); took < limit || took > limit+3*time.Second {
		t.Errorf("back after %s, want %s (%v)", took, limit, err)
	}
	wantError(t, err, source.ReasonUnreachable, "in time")
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	start = time.Now()
	_, err = g.Fetch(ctx, "")
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("canceled, and back after %s", took)
	}
	wantError(t, err, source.ReasonCanceled)
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

func TestHungSSH(t *testing.T) {
	t.Parallel()
	needSSHD(t)
	r := newSSHRepo(t)
	r.commit(t, state("1"))
	addr := mute(t)
	hangs(t, r.open(t, func(c *source.GitConfig) { c.URL = "ssh://git@" + addr + "/fleet.git" }))

	// A server that lets in and then does nothing.
	r.stop()
	r.extra = "ForceCommand cat"
	r.start(t, "host")
	g := r.open(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	start := time.Now()
	_, err := g.Fetch(ctx, "")
	wantError(t, err, source.ReasonUnreachable, "in time")
	if took := time.Since(start); took < 2*time.Second || took > 5*time.Second {
		t.Errorf("back after %s, want 2 s", took)
	}
	r.stop()
	r.extra = ""
	r.start(t, "host")
	fetchOK(t, g)
}

func TestConnectionRefused(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	write(t, key+".hosts", "")
	addr := freePort(t)
	for _, url := range []string{"https://" + addr + "/x.git", "ssh://git@" + addr + "/x.git", "https://no-such-host.invalid/x.git"} {
		g, err := source.NewGit(source.GitConfig{
			URL: url, CacheDir: t.TempDir(), SSH: source.SSHAuth{KeyFile: key, KnownHostsFile: key + ".hosts"},
		})
		if err != nil {
			t.Fatal(err)
		}
		refused(t, g, source.ReasonUnreachable, url)
	}
}

func TestSSHHostKeys(t *testing.T) {
	t.Parallel()
	needSSHD(t)
	r := newSSHRepo(t)
	r.commit(t, state("1"))
	g := r.open(t, nil)
	fetchOK(t, g)
	write(t, r.hosts, "")
	refused(t, g, source.ReasonHostKeyUnknown, r.hosts, "ssh-keyscan")
	r.know(t, "other")
	refused(t, g, source.ReasonHostKeyMismatch, "127.0.0.1")
	rsa, err := exec.Command("sh", "-c", `ssh-keygen -q -t ecdsa -N "" -f "$1" && cat "$1.pub"`, "sh", filepath.Join(r.base, "ecdsa")).Output()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(r.addr)
	write(t, r.hosts, "[127.0.0.1]:"+port+" "+string(rsa))
	refused(t, g, source.ReasonHostKeyMismatch, "no key of a kind")
	r.know(t, "host")
	if out, err := exec.Command("ssh-keygen", "-q", "-H", "-f", r.hosts).CombinedOutput(); err != nil {
		t.Fatalf("hash known_hosts: %v\n%s", err, out)
	}
	hashed, err := os.ReadFile(r.hosts)
	if err != nil || bytes.Contains(hashed, []byte("127.0.0.1")) {
		t.Fatalf("known_hosts is not hashed: %s %v", hashed, err)
	}
	fetchOK(t, g)
	write(t, r.hosts, "@revoked * "+strings.SplitN(string(mustRead(t, filepath.Join(r.base, "host.pub"))), "\n", 2)[0]+"\n")
	refused(t, g, source.ReasonHostKeyMismatch, "revoked")
	if err := os.Remove(r.hosts); err != nil {
		t.Fatal(err)
	}
	refused(t, g, source.ReasonInvalid, "known hosts")
}

func mustRead(t testing.TB, p string) []byte {
	t.Helper()
	data, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSSHKeys(t *testing.T) {
	t.Parallel()
	needSSHD(t)
	r := newSSHRepo(t)
	r.commit(t, state("1"))
	with := func(p string) *source.Git { return r.open(t, func(c *source.GitConfig) { c.SSH.KeyFile = p }) }
	stranger := r.keygen(t, "stranger")
	refused(t, with(stranger), source.ReasonAuthentication, stranger, "deploy keys")
	refused(t, with(filepath.Join(r.base, "none")), source.ReasonAuthentication, "none")
	refused(t, with(r.key+".pub"), source.ReasonInvalid)
	locked := filepath.Join(r.base, "locked")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "abc123", "-f", locked).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	refused(t, with(locked), source.ReasonInvalid, "passphrase")
	if err := os.Chmod(stranger, 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, with(stranger), source.ReasonInvalid, "chmod 600")
}
