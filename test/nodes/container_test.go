package nodes_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/lab"
)

// TestAgentInContainer runs the agent as Dockerfile.agent says, by the very commands that
// stand there: secrets reach containers by ktrdr-exec through memory that the host has
// mounted, also when that comes after the agent, and after a power loss.
func TestAgentInContainer(t *testing.T) {
	n := newNode(t, lab.MachineOptions{})
	n.spec("stacks: [{name: app}]")
	commit := n.push(withoutSecrets)
	const value = "s3cret value"
	n.put("/etc/ktrdr/secrets.env", `PASSWORD="`+value+"\"\n", 0o600)
	n.put("/etc/ktrdr/agent.yaml", "node: "+n.name()+"\nsecrets: {dotenv: {file: /etc/ktrdr/secrets.env}, refresh: 1s}\n"+
		"source:\n  git:\n    branch: main\n    pollInterval: 1s\n"+indent(n.serveHTTPS(), 4), 0o600)
	build, run, fstab := documented(t, n.read(module+"/Dockerfile.agent"))
	n.buildImage(build)
	n.run("sh", "-c", run)
	n.reached(commit)
	n.run("sh", "-c", "echo '"+fstab+"' >> /etc/fstab && mount /run/ktrdr/secrets")
	agent := n.run("docker", "inspect", "--format", "{{.State.Pid}}", "ktrdr-agent")
	if mounts := n.run("cat", "/proc/"+agent+"/mountinfo"); !strings.Contains(mounts, " /run/ktrdr/secrets ") {
		t.Errorf("the agent does not see what the host has mounted:\n%s", mounts)
	}
	commit = n.push(withSecrets)
	n.reached(commit)
	n.hasSecret(value)
	if list := n.run("ls", "/run/ktrdr/secrets"); !strings.Contains(list, "app-web-1.") {
		t.Errorf("the memory that the host has mounted holds %q", list)
	}
	if told := n.run("docker", "inspect", "app-web-1"); strings.Contains(told, value) || !strings.Contains(told, api.ExecTarget) {
		t.Errorf("not delivered by ktrdr-exec:\n%s", told)
	}
	if out := n.run("sh", "-c", "grep -rl '"+value+"' /var/lib/docker/containers /var/lib/ktrdr /var/log 2>/dev/null || true"); out != "" {
		t.Errorf("on the disk: %s", out)
	}
	before := n.containers()
	n.run("docker", "restart", "ktrdr-agent")
	n.reached(commit)
	n.untouched(before)

	if err := errors.Join(n.PowerLoss(t.Context()), n.PowerOn(t.Context())); err != nil {
		t.Fatal(err)
	}
	n.reached(commit)
	n.hasSecret(value)
	if n.containers()["web"].ID != before["web"].ID {
		t.Error("the container was replaced, a start was enough")
	}
}

const withoutSecrets = `
services:
  plain:
    image: ktrdr-demo:1
    command: ["http", "--port", "8081", "--name", "plain"]
    restart: unless-stopped
    healthcheck: {disable: true}
`

// documented are the commands of the Dockerfile's comment: how the image is built and run,
// and the line of fstab.
func documented(t *testing.T, dockerfile string) (build, run, fstab string) {
	t.Helper()
	comment := regexp.MustCompile(`(?m)^# ?`).ReplaceAllString(dockerfile, "")
	find := func(pattern string) string {
		found := regexp.MustCompile(pattern).FindString(comment)
		if found == "" {
			t.Fatalf("Dockerfile.agent has no %s", pattern)
		}
		return strings.TrimSpace(found)
	}
	return find(`(?m)^ +docker build .*$`), find(`(?m)^ +docker run (.*\\\n)*.*$`), find(`(?m)^ +tmpfs /run/ktrdr/secrets .*$`)
}

// buildImage puts the folder of the build on the machine and builds there.
func (n *node) buildImage(build string) {
	n.t.Helper()
	n.put("/root/build/Dockerfile.agent", n.read(module+"/Dockerfile.agent"), 0o644)
	for name, from := range map[string]string{"ktrdr-agent": world.agent, "ktrdr-exec": world.exec} {
		n.put(filepath.Join("/root/build/bin", name), n.read(from), 0o755)
	}
	n.run("sh", "-c", "cd /root/build && "+build)
}

// hasSecret: the program has it in its environment and as a file.
func (n *node) hasSecret(value string) {
	n.t.Helper()
	pid := 0
	eventually(n.t, "the program has its secret", func() bool {
		pid = n.containers()["web"].State.Pid // 0 between two runs, which the engine calls running too
		env, err := n.try("cat", fmt.Sprintf("/proc/%d/environ", pid))
		return err == nil && strings.Contains(env, "PASSWORD="+value+"\x00")
	})
	if got := n.run("stat", "--format", "%u:%g %a", fmt.Sprintf("/proc/%d/root/run/secrets/key", pid)); got != "999:1500 440" {
		n.t.Errorf("owner and mode of the file: %s", got)
	}
}
