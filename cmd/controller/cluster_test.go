package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// etcd is a real one, reached by a Unix socket.
func etcd(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "etcd") //nolint:usetesting // a socket's path is short
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	client := url.URL{Scheme: "unix", Path: filepath.Join(dir, "c.sock")}
	config := embed.NewConfig()
	config.Dir = filepath.Join(dir, "data")
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls = nil
	config.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.TickMs, config.ElectionMs = 20, 200
	server, err := embed.StartEtcd(config)
	must(t, err)
	t.Cleanup(server.Close)
	<-server.Server.ReadyNotify()
	return client.String()
}

// hook sends a webhook as GitHub does.
func (s *site) hook(secret string) int {
	s.t.Helper()
	body := []byte(`{"ref":"refs/heads/main"}`)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.authority)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: wire.TrustTLS(roots)}, Timeout: patience}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "https://"+s.addr+"/v1/webhook", bytes.NewReader(body))
	must(s.t, err)
	req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	resp, err := client.Do(req)
	must(s.t, err)
	must(s.t, resp.Body.Close())
	return resp.StatusCode
}

// TestTwoControllers share an etcd and follow a remote repository, which a third one hosts: each
// knows of the other's nodes, changes go to the remote repository, a webhook makes either
// look, and when one dies the other goes on.
func TestTwoControllers(t *testing.T) {
	if testing.Short() {
		t.Skip("three controllers and an etcd")
	}
	remote := newSite(t)
	remote.write("the first", state())
	var pusher sync.WaitGroup
	// The remote has no nodes: the pusher would watch for long.
	pusher.Go(func() { _, _ = remote.push() })
	t.Cleanup(pusher.Wait)
	remote.await("the remote has a head", func() bool { return remote.head() != "" })

	const secret = "0123456789abcdef0123"
	token, hook := filepath.Join(remote.dir, "token"), filepath.Join(remote.dir, "hook")
	must(t, os.WriteFile(token, []byte(remote.token), 0o600))
	must(t, os.WriteFile(hook, []byte(secret), 0o600))
	more := fmt.Sprintf("etcd: {external: {endpoints: [%q]}}\nrepository:\n  follow: {url: https://%s/git/desired-state.git, pollInterval: 1h, username: x, tokenFile: %s, caFile: %s, webhookSecretFile: %s}\n",
		etcd(t), remote.addr, token, filepath.Join(remote.dir, "ca.pem"), hook)
	one := newSiteWith(t, more, nil)
	two := newSiteWith(t, more, one)
	agents := map[string]*agenttest.Agent{"a": {Name: "a"}, "b": {Name: "b"}, "c": {Name: "c"}}
	one.agentOf(agents["a"], one.addr, two.addr)
	two.agentOf(agents["b"], two.addr, one.addr)
	two.agentOf(agents["c"], two.addr, one.addr)
	for _, s := range []*site{one, two} {
		s.await("it knows of all nodes", func() bool { return s.connected() == 3 })
		s.await("it has the remote's head", func() bool { return s.head() == remote.head() })
	}
	one.settleOn(agents, one.head())

	made, err := two.fleet.Scale(t.Context(), &ktrdrv1.ScaleRequest{Pool: "backtest", Node: "b", Count: 2})
	must(t, err)
	if got := remote.head(); got != made.GetRevision() {
		t.Errorf("the remote has %s, the change is %s", got, made.GetRevision())
	}
	one.settleOn(agents, made.GetRevision())

	// The node's agent knows no commands: it is the other controller that says so.
	logs, err := two.fleet.Logs(t.Context(), &ktrdrv1.LogsRequest{Logs: &ktrdrv1.LogsCommand{Stack: "core"}})
	must(t, err)
	if m, err := logs.Recv(); err != nil || m.GetNode().GetReason() != "CommandUnsupported" || !strings.Contains(m.GetNode().GetMessage(), "at "+one.addr) {
		t.Errorf("logs of another controller's node: %v %v", m, err)
	}
	if _, err := logs.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("logs end with %v", err)
	}

	pushed, err := remote.fleet.Deploy(t.Context(), &ktrdrv1.DeployRequest{Stack: "core", Services: []string{"backend"}, Tag: "t2"})
	must(t, err)
	if code := two.hook("another secret, long"); code != http.StatusForbidden {
		t.Errorf("a webhook with another secret: %d", code)
	}
	if code := two.hook(secret); code != http.StatusAccepted {
		t.Errorf("a webhook: %d", code)
	}
	one.settleOn(agents, pushed.GetRevision())

	one.kill()
	two.await("the node of the one that died is back", func() bool { return two.connected() == 3 })
	last, err := two.fleet.Deploy(t.Context(), &ktrdrv1.DeployRequest{Stack: "core", Services: []string{"backend"}, Tag: "t3"})
	must(t, err)
	two.settleOn(agents, last.GetRevision())
	if got := agents["a"].File("stacks/core/stack.yaml"); !strings.Contains(got, "TAG: t3") {
		t.Errorf("a has\n%s", got)
	}
	one.start()
	one.await("it is back in the fleet", func() bool { return one.head() == last.GetRevision() && one.connected() == 3 })
}

// head is the accepted revision; "" while there is none.
func (s *site) head() string {
	fleet, err := s.fleet.GetFleet(s.t.Context(), &ktrdrv1.GetFleetRequest{})
	if err != nil {
		return ""
	}
	return fleet.GetHead().GetRevision()
}

// settleOn waits until all nodes are to have a revision, and have it.
func (s *site) settleOn(agents map[string]*agenttest.Agent, revision string) {
	s.t.Helper()
	s.await("all nodes have "+revision, func() bool {
		fleet, err := s.fleet.GetFleet(s.t.Context(), &ktrdrv1.GetFleetRequest{})
		if err != nil || fleet.GetRollout().GetRevision() != revision || fleet.GetRollout().GetPhase() != "succeeded" {
			return false
		}
		for _, n := range fleet.GetNodes() {
			if agents[n.GetName()] != nil && (!n.GetAccepted() || n.GetTarget() != revision) {
				return false
			}
		}
		return true
	})
}
