package nodes_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/lab"
)

// readIfThere reads a file; one that is not there is empty.
func readIfThere(path string) (string, error) {
	data, err := os.ReadFile(path) //nolint:gosec // a file of the test's own cache
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return string(data), err
}

const onTheDisk = `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    healthcheck: {disable: true}
    environment: {CHANGED: "no"}
  other:
    image: ktrdr-demo:1
    command: ["http", "--port", "8081", "--name", "other"]
    restart: unless-stopped
    healthcheck: {disable: true}
`

// TestDiskFull fills the whole disk of a node, which engine, agent and journal share: what
// runs is left alone, what can't be done is told, and it heals when there is room.
func TestDiskFull(t *testing.T) {
	n := newNode(t, lab.MachineOptions{DiskMB: 256})
	n.spec("stacks: [{name: app}]")
	first := n.push(onTheDisk)
	n.configure(n.serveHTTPS())
	n.reached(first)
	agent, before := n.property("MainPID"), n.containers()

	fill := func() {
		n.run("sh", "-c", "for size in 1M 4k 1; do dd if=/dev/zero bs=$size of=/var/filler-$size 2>/dev/null; done; true")
	}
	fill()
	second := n.push(strings.Replace(onTheDisk, `CHANGED: "no"`, `CHANGED: "yes"`, 1))
	st := n.await("the full disk is told, and why", func(st api.NodeStatus) bool {
		return slices.ContainsFunc(st.Conditions, func(c api.Condition) bool { return strings.Contains(c.Message, "no space left on device") })
	})
	t.Logf("the new revision: %s: %s", st.Conditions[0].Reason, st.Conditions[0].Message)
	n.untouched(before)
	// Something is gone and has to be made anew, for which there may be room.
	n.run("docker", "rm", "--force", "app-other-1")
	fill()
	st = n.await("it is repaired, or told why not", func(st api.NodeStatus) bool {
		svc := service(st, "other")
		return !svc.Converged && strings.Contains(svc.Message, "no space left on device") || svc.Converged
	})
	t.Logf("the repair: %s: %s", service(st, "other").Reason, service(st, "other").Message)
	n.run("sh", "-c", "rm /var/filler-*")
	n.await("converged, and no condition stays", func(st api.NodeStatus) bool {
		return st.Revision == second && converged(st) && len(st.Conditions) == 0
	})
	if pid := n.property("MainPID"); pid != agent {
		t.Error("the agent was restarted")
	}
}
