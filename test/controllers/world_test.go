package controllers_test

import (
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
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"google.golang.org/grpc"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
	"ktrdr.io/fleet/test/port"
)

// lease is how long a controller that died counts as there, where a test waits for that;
// leaseOfProduct is for those to whom it has to count as there.
const (
	lease          = 3 * time.Second
	leaseOfProduct = 10 * time.Second
)

// fleetName is a name that both controllers have: a person's context needs no other.
const fleetName = "fleet.test"

// world is etcd, a forge, two controllers and their agents.
type world struct {
	t         testing.TB
	etcd      *etcd
	forge     *forge
	c         [2]*controller
	authority []byte
	token     string // of the first admin
	agents    map[string]*agenttest.Agent
	lease     time.Duration
	// sent is where agents have to connect, as an address by node; those without one choose.
	sent sync.Map
}

// controller is one of the two.
type controller struct {
	*process
	dir, config, state string
	addr, metrics      string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldOf(t, lease)
}

func newWorldOf(t testing.TB, lease time.Duration) *world {
	t.Helper()
	w := &world{t: t, etcd: newEtcd(t), forge: newForge(t), agents: map[string]*agenttest.Agent{}, lease: lease}
	for i := range w.c {
		w.c[i] = &controller{process: &process{t: t}, dir: t.TempDir(), addr: port.Reserve(t), metrics: port.Reserve(t)}
	}
	for _, c := range w.c {
		c.config, c.state = filepath.Join(c.dir, "controller.yaml"), filepath.Join(c.dir, "state")
		must(t, os.WriteFile(c.config, w.configuration(c), 0o600))
		c.make = func() *exec.Cmd {
			return exec.CommandContext(context.WithoutCancel(t.Context()), program, "run", "--config", c.config)
		}
	}
	credentials := filepath.Join(w.c[0].dir, "admin.yaml")
	out, err := w.c[0].command("init", "--out", credentials)
	if err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	w.authority, w.token = readContext(t, credentials)
	w.c[1].copyAuthority(w.c[0])
	for i, c := range w.c {
		t.Cleanup(func() {
			c.stop()
			if t.Failed() {
				t.Logf("controller %d says:\n%s", i, c.log.tail())
			}
		})
	}
	return w
}

// configuration differs in where a controller is only.
func (w *world) configuration(c *controller) []byte {
	return fmt.Appendf(nil, `listen: %s
address: %[1]s
names: [%[2]s]
ips: [127.0.0.1]
advertise: [%[3]q, %[4]q]
stateDir: %[5]s
metrics: %[6]s
etcd:
  external:
    endpoints: [%[7]s]
    lease: %[8]s
repository:
  follow:
    url: %[9]s/fleet.git
    username: karl
    tokenFile: %[10]s
    caFile: %[11]s
    pollInterval: 1s
`, c.addr, fleetName, w.c[0].addr, w.c[1].addr, filepath.Join(c.dir, "state"), c.metrics, strings.Join(w.etcd.endpoints(), ", "), w.lease,
		w.forge.server.URL, w.forge.pat, w.forge.ca)
}

// command runs the program beside the controller.
func (c *controller) command(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), time.Minute)
	defer cancel()
	words := append(strings.Fields(name), "--config", c.config)
	out, err := exec.CommandContext(ctx, program, append(words, args...)...).CombinedOutput()
	return string(out), err
}

// copyAuthority is what an operator does for a second controller.
func (c *controller) copyAuthority(from *controller) {
	c.t.Helper()
	must(c.t, os.MkdirAll(filepath.Join(c.state, "authority"), 0o700))
	for _, name := range []string{"ca.crt", "ca.key"} {
		content, err := os.ReadFile(filepath.Join(from.state, "authority", name))
		must(c.t, err)
		must(c.t, os.WriteFile(filepath.Join(c.state, "authority", name), content, 0o600))
	}
}

func (c *controller) start() {
	c.t.Helper()
	c.process.start()
	await(c.t, "the controller at "+c.addr+" is ready", c.ready)
}

func (c *controller) ready() bool { code, _ := c.get("/readyz"); return code == http.StatusOK }

// leads tells whether this controller drives rollouts.
func (c *controller) leads() bool {
	_, body := c.get("/metrics")
	return strings.Contains(body, "\nktrdr_controller_leading 1\n")
}

func (c *controller) get(path string) (int, string) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	req, err := http.NewRequestWithContext(context.WithoutCancel(c.t.Context()), http.MethodGet, "http://"+c.metrics+path, nil)
	must(c.t, err)
	resp, err := client.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, ""
	}
	return resp.StatusCode, string(body)
}

func readContext(t testing.TB, file string) (authority []byte, token string) {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	var content struct {
		Contexts []struct{ Authority, Token string }
	}
	must(t, yaml.UnmarshalWithOptions(text, &content))
	authority, err = base64.StdEncoding.DecodeString(content.Contexts[0].Authority)
	must(t, err)
	return authority, content.Contexts[0].Token
}

// dial connects an operator to one controller.
func (w *world) dial(c *controller, token string) *grpc.ClientConn {
	w.t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(w.authority) {
		w.t.Fatal("the authority is no certificate")
	}
	conn, err := wire.Dial(wire.Client{Target: c.addr, Token: token, TLS: func() (*tls.Config, error) { return wire.TrustTLS(roots), nil }})
	must(w.t, err)
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (w *world) fleet(c *controller) ktrdrv1.FleetServiceClient {
	return ktrdrv1.NewFleetServiceClient(w.dial(c, w.token))
}

// join makes a node at one controller, whose agent then knows that one only, until another is
// told of.
func (w *world) join(a *agenttest.Agent, at *controller) {
	w.t.Helper()
	made, err := ktrdrv1.NewNodeServiceClient(w.dial(at, w.token)).CreateJoinToken(w.t.Context(), &ktrdrv1.CreateJoinTokenRequest{Node: a.Name})
	must(w.t, err)
	token, err := pki.ParseJoinToken(made.GetJoinToken())
	must(w.t, err)
	keys, err := pki.OpenKeyStore(filepath.Join(w.t.TempDir(), "keys"))
	must(w.t, err)
	credentials, _, err := wire.Join(w.t.Context(), wire.Enrollment{Target: at.addr, Token: token, Store: keys, Version: "test"})
	must(w.t, err)
	tries := 0
	a.Dial = func() (*grpc.ClientConn, error) {
		targets := append([]string{at.addr}, a.Endpoints()...)
		if address, ok := w.sent.Load(a.Name); ok {
			targets = []string{address.(string)}
		}
		tries++
		return wire.Dial(wire.Client{Target: targets[(tries-1)%len(targets)], TLS: func() (*tls.Config, error) { return wire.ClientTLS(credentials), nil }})
	}
	w.agents[a.Name] = a
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	var running sync.WaitGroup
	running.Go(func() { a.Run(ctx) })
	w.t.Cleanup(func() { cancel(); running.Wait() })
}

// fill joins the fleet's nodes, at the controllers by turns.
func (w *world) fill(outcome func(node, revision string) agenttest.Outcome) {
	w.t.Helper()
	for i, name := range nodeNames() {
		a := &agenttest.Agent{Name: name, Commands: commands(name)}
		if outcome != nil {
			a.Outcome = func(revision string) agenttest.Outcome { return outcome(name, revision) }
		}
		w.join(a, w.c[i%2])
	}
	await(w.t, "all agents are connected", func() bool { return w.connected(w.c[0]) == len(w.agents) })
}

// send has an agent leave its controller and connect to one.
func (w *world) send(name string, to *controller) {
	w.t.Helper()
	w.sent.Store(name, to.addr)
	w.agents[name].Drop()
	await(w.t, name+" is at "+to.addr, func() bool { return slices.Contains(w.at(to), name) })
	w.sent.Delete(name)
}

// at are the nodes whose agents are connected to a controller, as they see it.
func (w *world) at(c *controller) []string {
	id, err := os.ReadFile(filepath.Join(c.state, "id"))
	must(w.t, err)
	var out []string
	for name, a := range w.agents {
		if a.Controller() == strings.TrimSpace(string(id)) {
			out = append(out, name)
		}
	}
	return out
}

// connected counts, as one controller sees it.
func (w *world) connected(c *controller) int {
	nodes := w.nodes(c)
	if nodes == nil {
		return -1
	}
	count := 0
	for _, n := range nodes {
		if n.GetConnected() {
			count++
		}
	}
	return count
}

func (w *world) nodes(c *controller) []*ktrdrv1.Node {
	conn := w.dial(c, w.token)
	defer conn.Close() //nolint:errcheck // it was read
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), 10*time.Second)
	defer cancel()
	fleet, err := ktrdrv1.NewFleetServiceClient(conn).GetFleet(ctx, &ktrdrv1.GetFleetRequest{})
	if err != nil {
		return nil
	}
	return fleet.GetNodes()
}
