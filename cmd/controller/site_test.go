package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"google.golang.org/grpc"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
	"ktrdr.io/fleet/test/leaks"
	"ktrdr.io/fleet/test/port"
)

// asProgram makes the test program be the controller.
const asProgram = "KTRDR_TEST_AS"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) == "controller" {
		main()
	}
	leaks.Main(m)
}

const patience = 60 * time.Second

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// site is a controller as a process of its own, with an admin.
type site struct {
	t      testing.TB
	dir    string
	config string
	// dirOfState is the state folder; "" = state in dir.
	dirOfState string
	addr       string
	metrics    string
	process    *exec.Cmd
	log        said
	authority  []byte
	token      string
	conn       *grpc.ClientConn
	fleet      ktrdrv1.FleetServiceClient
	nodes      ktrdrv1.NodeServiceClient
	access     ktrdrv1.AccessServiceClient
	workdir    string
}

// said keeps what a program says, and is read meanwhile.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *said) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *said) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// newSite initialises and starts a controller.
func newSite(t testing.TB) *site {
	t.Helper()
	return newSiteWith(t, "", nil)
}

// newSiteWith has more in its configuration, and is of the fleet of another controller.
func newSiteWith(t testing.TB, more string, fleet *site) *site {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("SKIPPED: there is no git program")
	}
	dir := t.TempDir()
	s := &site{t: t, dir: dir, config: filepath.Join(dir, "controller.yaml"), addr: port.Reserve(t), metrics: port.Reserve(t)}
	must(t, os.WriteFile(s.config, fmt.Appendf(nil, "listen: %s\nips: [127.0.0.1]\nstateDir: %s/state\nmetrics: %s\n%s", s.addr, dir, s.metrics, more), 0o600))
	if fleet != nil {
		must(t, os.CopyFS(filepath.Join(dir, "state", "authority"), os.DirFS(filepath.Join(fleet.dir, "state", "authority"))))
		for name, mode := range map[string]os.FileMode{"": 0o700, "authority": 0o700, "authority/ca.key": 0o600} {
			must(t, os.Chmod(filepath.Join(dir, "state", name), mode))
		}
	}
	credentials := filepath.Join(dir, "admin.yaml")
	out, err := s.command("init", "--config", s.config, "--out", credentials).CombinedOutput()
	if err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	if fleet == nil {
		s.authority, s.token = readContext(t, credentials)
	} else {
		s.authority, s.token = fleet.authority, fleet.token
	}
	s.start()
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("the controller's log:\n%s", s.logged())
		}
	})
	s.conn = s.dial(s.token)
	s.fleet, s.nodes, s.access = ktrdrv1.NewFleetServiceClient(s.conn), ktrdrv1.NewNodeServiceClient(s.conn), ktrdrv1.NewAccessServiceClient(s.conn)
	return s
}

func (s *site) logged() string {
	text := s.log.String()
	return text[max(0, len(text)-8000):]
}

// readContext reads credentials as ktrdrctl does.
func readContext(t testing.TB, file string) (authority []byte, token string) {
	t.Helper()
	info, err := os.Stat(file)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v", file, info.Mode())
	}
	text, err := os.ReadFile(file)
	must(t, err)
	var content struct {
		Contexts []struct{ Name, Controller, Authority, Token string }
	}
	must(t, yaml.Unmarshal(text, &content))
	authority, err = base64.StdEncoding.DecodeString(content.Contexts[0].Authority)
	must(t, err)
	return authority, content.Contexts[0].Token
}

func (s *site) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.WithoutCancel(s.t.Context()), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=controller")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (s *site) start() {
	s.t.Helper()
	s.process = s.command("run", "--config", s.config)
	s.process.Stderr = &s.log
	must(s.t, s.process.Start())
	s.await("the controller is ready", func() bool {
		resp, err := http.Get("http://" + s.metrics + "/readyz")
		if err != nil {
			return false
		}
		defer resp.Body.Close() //nolint:errcheck // its status is all that counts
		return resp.StatusCode == http.StatusOK
	})
	http.DefaultClient.CloseIdleConnections()
}

// stop ends it gracefully.
func (s *site) stop() {
	s.t.Helper()
	if s.process == nil {
		return
	}
	_ = s.process.Process.Signal(syscall.SIGTERM)
	if err := s.process.Wait(); err != nil {
		s.t.Errorf("the controller ends with %v", err)
	}
	s.process = nil
}

// kill ends it as a power failure does.
func (s *site) kill() {
	s.t.Helper()
	must(s.t, s.process.Process.Kill())
	_ = s.process.Wait()
	s.process = nil
}

func (s *site) await(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) { //nolint:forbidigo // between two looks
		if time.Now().After(end) {
			s.t.Fatalf("not within %s: %s\n%s", patience, what, s.logged())
		}
	}
}

func (s *site) dial(token string) *grpc.ClientConn {
	s.t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.authority) {
		s.t.Fatal("the authority is no certificate")
	}
	conn, err := wire.Dial(wire.Client{Target: s.addr, Token: token, TLS: func() (*tls.Config, error) { return wire.TrustTLS(roots), nil }})
	must(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// join makes a node with a join token, as an operator and an agent do.
func (s *site) join(name string) *pki.Credentials {
	s.t.Helper()
	made, err := s.nodes.CreateJoinToken(s.t.Context(), &ktrdrv1.CreateJoinTokenRequest{Node: name})
	must(s.t, err)
	token, err := pki.ParseJoinToken(made.GetJoinToken())
	must(s.t, err)
	keys, err := pki.OpenKeyStore(filepath.Join(s.t.TempDir(), "keys"))
	must(s.t, err)
	c, endpoints, err := wire.Join(s.t.Context(), wire.Enrollment{Target: s.addr, Token: token, Store: keys, Version: "test"})
	must(s.t, err)
	if !slices.Contains(endpoints, s.addr) {
		s.t.Errorf("node %s is told of %v, not of %s", name, endpoints, s.addr)
	}
	return c
}

// agent joins a node and runs its agent; stop ends it.
func (s *site) agent(a *agenttest.Agent) (stop func()) {
	s.t.Helper()
	return s.agentOf(a, s.addr)
}

// agentOf is an agent that tries several controllers in turn, the first one first.
func (s *site) agentOf(a *agenttest.Agent, addrs ...string) (stop func()) {
	s.t.Helper()
	c := s.join(a.Name)
	tries := -1
	a.Dial = func() (*grpc.ClientConn, error) {
		tries++
		return wire.Dial(wire.Client{Target: addrs[tries%len(addrs)], TLS: func() (*tls.Config, error) { return wire.ClientTLS(c), nil }})
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
		for _, fault := range a.Faults() {
			s.t.Errorf("agent %s: %s", a.Name, fault)
		}
	})
	s.t.Cleanup(stop)
	return stop
}

func (s *site) agents(names ...string) map[string]*agenttest.Agent {
	s.t.Helper()
	out := map[string]*agenttest.Agent{}
	for _, name := range names {
		out[name] = &agenttest.Agent{Name: name}
		s.agent(out[name])
	}
	s.await("all agents are connected", func() bool { return s.connected() == len(names) })
	return out
}

func (s *site) connected() int {
	fleet, err := s.fleet.GetFleet(s.t.Context(), &ktrdrv1.GetFleetRequest{})
	if err != nil {
		return -1
	}
	count := 0
	for _, n := range fleet.GetNodes() {
		if n.GetConnected() {
			count++
		}
	}
	return count
}

// get asks the HTTP side.
func (s *site) get(path, token string) (int, string) {
	s.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.authority)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: wire.TrustTLS(roots)}, Timeout: patience}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "https://"+s.addr+path, nil)
	must(s.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	must(s.t, err)
	defer resp.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(resp.Body)
	must(s.t, err)
	return resp.StatusCode, string(body)
}

// state is a small fleet: core on a, workers with a pool on b and c.
func state() map[string]string {
	files := map[string]string{
		"fleet.yaml":                "apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: home}\nspec:\n  rollout:\n    waves: [{name: core, nodes: [a]}, {name: canary, nodes: [b]}]\n",
		"stacks/core/stack.yaml":    "apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: core}\nspec: {variables: {TAG: v1}}\n",
		"stacks/core/compose.yaml":  "services:\n  backend:\n    image: example/backend:${TAG}\n    container_name: ktrdr-backend\n    ports: [\"8000:8000\"]\n",
		"stacks/workers/stack.yaml": "apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: workers}\nspec:\n  variables: {TAG: v1}\n  pools:\n    backtest: {services: [worker-1, worker-2, worker-3], default: 1}\n",
	}
	compose := "services:\n"
	for i := 1; i <= 3; i++ {
		compose += fmt.Sprintf("  worker-%d:\n    image: example/worker:${TAG}\n    container_name: worker-%d\n    ports: [\"%d:%d\"]\n    deploy: {resources: {limits: {memory: 3G}}}\n", i, i, 5002+i, 5002+i)
	}
	files["stacks/workers/compose.yaml"] = compose
	for node, stack := range map[string]string{"a": "core", "b": "workers", "c": "workers"} {
		files["nodes/"+node+".yaml"] = fmt.Sprintf("apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: %s}\nspec:\n  hostname: %s.example\n  capacity: {memory: 6500M}\n  stacks:\n    - name: %s\n  scale: {}\n", node, node, stack)
	}
	files["nodes/b.yaml"] = strings.Replace(files["nodes/b.yaml"], "scale: {}", "scale:\n    # the operator's own comment\n    backtest: 1", 1)
	return files
}
