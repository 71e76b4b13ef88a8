package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/canary"
	"ktrdr.io/fleet/test/connect"
)

// canaryPIN is a secret that is as weak as they come. Its digits alone prove nothing: what
// prints it says "pin" before it.
const canaryPIN = "8042"

// canaryWorld is a node of its own whose agent gets canaries from a stand-in Connect: four
// that are delivered as files and used in every way, one that is rotated, the login of a registry, and one
// ("open") that a stack has in its environment, as the control of each search.
type canaryWorld struct {
	*origin

	server      *connect.Server
	vault, item string
	registry    string
	// echo makes the registry repeat logins in its errors.
	echo atomic.Bool

	word, nasty, key, login, open canary.Secret
	// first and second are the values of a secret that is rotated.
	first, second canary.Secret
	// closed finds all but open, exposed finds open alone, every all of them.
	closed, exposed, every *canary.Scanner
	began                  time.Time
}

func newCanaryWorld(t *testing.T) *canaryWorld {
	t.Helper()
	n, engine := newNode(t)
	w := &canaryWorld{
		origin: &origin{agent: bareAgent(t, engine, n)}, began: time.Now(),
		word: canary.Word("word"), nasty: canary.Nasty("nasty"), key: canary.Key("key"), login: canary.Word("login"), open: canary.Word("open"),
		first: canary.Word("first"), second: canary.Nasty("second"),
	}
	w.closed = canary.New(w.word, w.nasty, w.key, w.login, w.first, w.second)
	w.exposed = canary.New(w.open)
	w.every = canary.New(w.word, w.nasty, w.key, w.login, w.first, w.second, w.open)
	w.debugEngine(t)
	engine.importImage(t, "e2e-canary:shell", []string{"/bin/sh", "/bin/cat"}, "ENTRYPOINT [\"/ktrdrsim\"]")
	w.serveConnect(t)
	w.serveRegistry(t)
	w.writeState()
	w.bare = filepath.Join(w.home, "origin.git")
	w.git("init", "--quiet", "--bare", "--initial-branch=main", w.bare)
	w.git("init", "--quiet", "--initial-branch=main")
	w.git("remote", "add", "origin", w.bare)
	w.push()
	w.ctl(0, "validate", w.repo)
	return w
}

// debugEngine makes the node's engine log all that it is asked.
func (w *canaryWorld) debugEngine(t *testing.T) {
	t.Helper()
	writeFile(t, filepath.Join(w.host.Dir, "daemon.json"), `{"debug": true}`, 0o600)
	pid, err := strconv.Atoi(strings.TrimSpace(readFile(t, filepath.Join(w.host.Dir, "docker.pid"))))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a debug log of the engine", time.Minute, func() bool {
		w.on.do(t, http.MethodGet, "/containers/json", nil, nil)
		return strings.Contains(tryRead(w.host.EngineLog()), "level=debug")
	})
}

// inNode serves in the network of the node.
func (w *canaryWorld) inNode(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	listener, err := w.host.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(&output{}, "", 0)}}
	server.Start()
	t.Cleanup(server.Close)
	return server
}

func (w *canaryWorld) serveConnect(t *testing.T) {
	t.Helper()
	var err error
	if w.server, err = connect.New(); err != nil {
		t.Fatal(err)
	}
	w.vault = w.server.AddVault(connect.Vault{Name: vaultOfUser})
	fields := []connect.Field{{Label: "pin", Value: canaryPIN}, {Label: "rotated", Value: w.first.Value}}
	for _, s := range []canary.Secret{w.word, w.nasty, w.key, w.login, w.open} {
		fields = append(fields, connect.Field{Label: s.Name, Value: s.Value})
	}
	if w.item, err = w.server.AddItem(w.vault, connect.Item{Title: itemOfUser, Fields: fields}); err != nil {
		t.Fatal(err)
	}
	token, err := w.server.Issue(connect.Grant{Vaults: []string{w.vault}, Expires: time.Now().Add(100 * 24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.home, "token")
	writeFile(t, path, token, 0o600)
	w.extra = []string{
		"secrets: {connect: {url: '" + w.inNode(t, w.server).URL + "', tokenFile: " + path + "}, refresh: 1s}",
		"log: {level: debug}", "listen: 127.0.0.1:9180", "source: {git: {url: 'file://" + filepath.Join(w.home, "origin.git") + "', pollInterval: 1s}}",
	}
}

// serveRegistry serves the demonstration image to who has the login.
func (w *canaryWorld) serveRegistry(t *testing.T) {
	t.Helper()
	images := registry.New(registry.Logger(log.New(&output{}, "", 0)))
	server := w.inNode(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, password, ok := r.BasicAuth()
		switch {
		case !ok:
			rw.Header().Set("WWW-Authenticate", `Basic realm="e2e"`)
			http.Error(rw, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		case w.echo.Load():
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(rw, `{"errors":[{"code":"DENIED","message":"REGISTRY-SAYS no %s for basic %s"}]}`, password, base64.StdEncoding.EncodeToString([]byte("robot:"+password)))
		default:
			images.ServeHTTP(rw, r)
		}
	}))
	w.registry = strings.TrimPrefix(server.URL, "http://")
	name := w.registry + "/e2e/web"
	w.on.post(t, "/images/ktrdr-demo:1/tag?repo="+url.QueryEscape(name)+"&tag=1", nil)
	auth, err := json.Marshal(map[string]string{"username": "robot", "password": w.login.Value})
	if err != nil {
		t.Fatal(err)
	}
	var said []byte
	w.on.doAs(t, request{http.MethodPost, "/images/" + name + "/push?tag=1", "X-Registry-Auth", base64.URLEncoding.EncodeToString(auth)}, &said)
	if strings.Contains(string(said), "errorDetail") {
		t.Fatalf("push: %s", said)
	}
	w.on.do(t, http.MethodDelete, "/images/"+name+":1?noprune=1", nil, nil)
}

// told finds the message of a container that says a word.
func told(st api.NodeStatus, name, word string) bool {
	return strings.Contains(service(st, name).Message, word)
}

// everywhere are the texts that the agent gives to anybody, by where they come from: both
// listeners and every command of ktrdrctl.
func (w *canaryWorld) everywhere(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{"log of the agent": w.log.String()}
	for _, path := range []string{"/v1/status", "/v1/events", "/v1/plan", "/v1/secrets", "/v1/version", "/metrics", "/healthz", "/readyz", "/v1/nothing"} {
		_, body, err := w.ask(http.MethodGet, path)
		if err != nil {
			t.Fatal(err)
		}
		texts["socket "+path] = string(body)
		texts["TCP "+path] = on(t, w.host, "curl", "--silent", "--show-error", "http://127.0.0.1:9180"+path)
	}
	for _, command := range w.commands(t) {
		cmd := w.host.Command(t.Context(), binaries.ctl, append([]string{"--agent", "unix://" + w.socket}, strings.Fields(command)...)...)
		out, _ := cmd.CombinedOutput() // exit codes tell of what is not converged
		texts["ktrdrctl "+command] = string(out)
	}
	return texts
}

// gitObjects are all objects of a repository, inflated; dir is its folder of objects.
func (w *canaryWorld) gitObjects(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "--git-dir", w.bare, "cat-file", "--batch-all-objects", "--batch", "--unordered")
	cmd.Env = append(os.Environ(), "GIT_OBJECT_DIRECTORY="+dir, "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("objects of %s: %v\n%s", dir, err, out)
	}
	return string(out)
}

// gitDirs are the folders of git objects below a folder.
func gitDirs(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "objects" {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
