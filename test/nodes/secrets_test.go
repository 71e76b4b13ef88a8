package nodes_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/lab"
)

const withSecrets = `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    healthcheck: {disable: true}
    environment: {PASSWORD: "op://nodes/app/password"}
    secrets: [{source: key, uid: "999", gid: "1500", mode: 0440}]
  plain:
    image: ktrdr-demo:1
    command: ["http", "--port", "8081", "--name", "plain"]
    restart: unless-stopped
    healthcheck: {disable: true}
secrets:
  key: {external: true, name: "op://nodes/app/password"}
`

// TestSecrets: under the real unit, with its mount namespace and its capabilities, secrets
// reach containers through memory that the engine sees, outlives the agent and is empty
// after a power loss.
func TestSecrets(t *testing.T) { testSecrets(t, lab.MachineOptions{}) }

// TestSecretsUnprivileged: likewise where the machine's root is nobody on the host, whose
// kernel keeps no promise about swap to it.
func TestSecretsUnprivileged(t *testing.T) { testSecrets(t, lab.MachineOptions{Unprivileged: true}) }

func testSecrets(t *testing.T, opts lab.MachineOptions) {
	t.Helper()
	n := newNode(t, opts)
	n.spec("stacks: [{name: app}]")
	commit := n.push(withSecrets)
	const file, value = "/etc/ktrdr/secrets.env", "s3cret value"
	n.put(file, `PASSWORD="`+value+"\"\n", 0o600)
	source := n.serveHTTPS()
	n.put("/etc/ktrdr/agent.yaml", "node: "+n.name()+"\nsecrets: {dotenv: {file: "+file+"}, refresh: 1s}\nsource:\n  git:\n    branch: main\n    pollInterval: 1s\n"+
		indent(source, 4), 0o600)
	n.run("systemctl", "enable", "--now", "--quiet", "ktrdr-agent")
	n.reached(commit)
	has := func() { t.Helper(); n.hasSecret(value) }
	has()
	mount := n.run("grep", " /run/ktrdr/secrets ", "/proc/1/mountinfo")
	if !strings.Contains(mount, " - tmpfs ") {
		t.Errorf("secrets are in %s", mount)
	}
	t.Logf("the memory of secrets: %s", mount)
	if opts.Unprivileged && (strings.Contains(mount, "noswap") || !strings.Contains(n.journal(), "may be swapped")) {
		t.Error("a machine with users of its own can't have memory that is never swapped, and its agent has to say so")
	}
	if out := n.run("sh", "-c", "grep -rl '"+value+"' /var/lib/docker/containers /var/lib/ktrdr /var/log 2>/dev/null || true"); out != "" {
		t.Errorf("on the disk: %s", out)
	}

	before := n.containers()
	n.run("systemctl", "stop", "ktrdr-agent")
	n.run("kill", "-KILL", fmt.Sprint(before["web"].State.Pid))
	eventually(t, "the engine starts it without the agent", func() bool {
		web := n.containers()["web"]
		return web.State.Running && web.State.Pid != before["web"].State.Pid
	})
	has()
	before = n.containers()
	n.run("systemctl", "start", "ktrdr-agent")
	n.reached(commit)
	n.untouched(before)

	n.run("mv", file, file+".away")
	if err := errors.Join(n.PowerLoss(t.Context()), n.PowerOn(t.Context())); err != nil {
		t.Fatal(err)
	}
	n.await("says what it waits for, and runs what needs no secret", func(st api.NodeStatus) bool {
		web := service(st, "web")
		return service(st, "plain").Converged && web.Reason == api.ReasonSecretMissing && strings.Contains(web.Message, "op://nodes/app/password")
	})
	if n.containers()["web"].State.Running {
		t.Error("it runs without its secret")
	}
	n.run("mv", file+".away", file)
	n.reached(commit)
	has()
	if n.containers()["web"].ID != before["web"].ID {
		t.Error("the container was replaced, a start was enough")
	}
}
