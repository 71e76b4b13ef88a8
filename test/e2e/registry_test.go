package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"ktrdr.io/fleet/pkg/api"
	waves "ktrdr.io/fleet/pkg/controller/rollout"
)

const (
	registryUser = "robot"
	registryPass = "registry-pass-5d1e"
)

// closedRegistry is a registry that wants a login.
type closedRegistry struct {
	host    string
	refused atomic.Int64
}

// newRegistry takes basic logins, over TLS where the machine has an address for that: on
// loopback engines speak plain HTTP.
func newRegistry(t *testing.T) *closedRegistry {
	t.Helper()
	r := &closedRegistry{}
	images := registry.New(registry.Logger(log.New(&output{}, "", 0)))
	handler := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		user, pass, _ := req.BasicAuth()
		if user != registryUser || pass != registryPass {
			r.refused.Add(1)
			w.Header().Set("WWW-Authenticate", `Basic realm="e2e"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		req.URL.Path = strings.Replace(req.URL.Path, "/e2e/pushed/", "/e2e/web/", 1)
		images.ServeHTTP(w, req)
	})
	if address := ownAddress(t); address != "" {
		r.host = withTLS(t, address, handler).Listener.Addr().String()
		return r
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	r.host = server.Listener.Addr().String()
	return r
}

// push puts the demonstration image into the registry, as somebody else would: the engine
// never has a tag of the repository that is deployed.
func (r *closedRegistry) push(t *testing.T, d docker, tag string) {
	t.Helper()
	r.tag(t, d, r.host+"/e2e/pushed", tag)
	r.pushTagged(t, d, tag)
}

// pushTagged pushes what the engine has under the tag.
func (r *closedRegistry) pushTagged(t *testing.T, d docker, tag string) {
	t.Helper()
	auth, err := json.Marshal(map[string]string{"username": registryUser, "password": registryPass})
	if err != nil {
		t.Fatal(err)
	}
	var said []byte
	d.doAs(t, request{http.MethodPost, "/images/" + r.host + "/e2e/pushed/push?tag=" + tag, "X-Registry-Auth", base64.URLEncoding.EncodeToString(auth)}, &said)
	if strings.Contains(string(said), "errorDetail") {
		t.Fatalf("push: %s", said)
	}
}

// tag gives the demonstration image a name for the time of the test.
func (r *closedRegistry) tag(t *testing.T, d docker, repo, tag string) {
	t.Helper()
	d.post(t, "/images/ktrdr-demo:1/tag?repo="+url.QueryEscape(repo)+"&tag="+tag, nil)
	for _, name := range []string{repo, r.host + "/e2e/web"} {
		t.Cleanup(func() { d.quietly(http.MethodDelete, "/images/"+name+":"+tag+"?noprune=1") })
	}
}

// TestRegistry is acceptance scenario 10: a login that is refused and a tag that is not
// there never stop what runs, and mend themselves.
func TestRegistry(t *testing.T) {
	a := newAgent(t, "", "")
	r := newRegistry(t)
	compose := func(tag string) {
		a.compose(`
services:
  web:
    image: ` + r.host + "/e2e/web:" + tag + `
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    healthcheck: {disable: true}
`)
	}
	r.push(t, a.on, "2")
	r.tag(t, a.on, r.host+"/e2e/web", "1")
	a.write("fleet.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: e2e}\nspec:\n  registries:\n"+
		"  - {host: '"+r.host+"', username: "+registryUser+", password: 'op://e2e/registry/password'}\n")
	secrets := filepath.Join(a.home, "secrets.env")
	writeFile(t, secrets, "REGISTRY_PASSWORD=wrong-password-77\n", 0o600)
	a.extra = []string{"secrets: {dotenv: {file: " + secrets + "}, refresh: 1s}"}
	home := filepath.Join(a.home, "home")
	writeFile(t, filepath.Join(home, ".docker/config.json"), `{"auths":{}}`, 0o600)
	a.env = []string{"HOME=" + home}
	compose("1")
	a.start()
	a.converged()
	old := a.on.snapshot(t, a.name("web"))

	compose("2")
	st := a.await("denied", time.Minute, func(st api.NodeStatus) bool { return service(st, a.name("web")).Reason == api.ReasonImageDenied })
	t.Logf("refused login: %s", service(st, a.name("web")).Message)
	failsRollout(t, st, api.ReasonImageDenied)
	during(t, "old container runs on", 3*time.Second, func() bool { return a.on.must(t, a.name("web")).same(old[a.name("web")]) })
	writeFile(t, secrets, "REGISTRY_PASSWORD="+registryPass+"\n", 0o600)
	began := time.Now()
	a.await("converged with the right login", 2*time.Minute, func(st api.NodeStatus) bool {
		return allConverged(st) && strings.HasSuffix(service(st, a.name("web")).Image, ":2")
	})
	t.Logf("converged %s after the login was corrected", time.Since(began).Round(time.Millisecond))
	old = a.on.snapshot(t, a.name("web"))

	compose("3")
	st = a.await("missing", time.Minute, func(st api.NodeStatus) bool { return service(st, a.name("web")).Reason == api.ReasonImageMissing })
	t.Logf("missing tag: %s", service(st, a.name("web")).Message)
	failsRollout(t, st, api.ReasonImageMissing)
	during(t, "old container runs on", 3*time.Second, func() bool { return a.on.must(t, a.name("web")).same(old[a.name("web")]) })
	r.push(t, a.on, "3")
	began = time.Now()
	a.await("converged by itself", 2*time.Minute, allConverged)
	t.Logf("converged %s after the tag appeared", time.Since(began).Round(time.Millisecond))
	if c := a.on.must(t, a.name("web")); !strings.HasSuffix(c.Config.Image, ":3") {
		t.Errorf("image %s", c.Config.Image)
	}
	if r.refused.Load() == 0 {
		t.Error("the registry never refused anything: the test proves nothing")
	}
	if got := readFile(t, filepath.Join(home, ".docker/config.json")); got != `{"auths":{}}` {
		t.Errorf("the login was written to disk: %s", got)
	}
	if entries, err := os.ReadDir(home); err != nil || len(entries) != 1 {
		t.Errorf("files in HOME: %v %v", entries, err)
	}
	leak(t, "the log", a.log.String(), []string{registryPass, "wrong-password-77"})
}

// failsRollout wants a controller that is told the status to fail a rollout at once, with its
// place, reason and fix.
func failsRollout(t *testing.T, st api.NodeStatus, want api.Reason) {
	t.Helper()
	now := time.Now()
	begun, _ := waves.Begin(nil, waves.Order{Revision: st.Revision, Digests: map[string]string{st.Node: "sha256:1"}}, now)
	ended, _ := waves.Next(&begun, map[string]waves.Node{st.Node: {Connected: true, Digest: "sha256:1", StatusDigest: "sha256:1", Status: &st}}, now)
	t.Logf("the rollout: %s", ended.Message)
	place := "node " + st.Node + ": app: web: " + string(want) + ": "
	if ended.Phase != waves.Failed || ended.Reason != want || !strings.HasPrefix(ended.Message, place) || !strings.Contains(ended.Message, "; fix: ") {
		t.Errorf("a rollout to the node is %s %s: %s\nconditions %+v", ended.Phase, ended.Reason, ended.Message, st.Stacks[0].Conditions)
	}
}
