package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/test/connect"
)

// canaryKept keeps a secret that is rotated, and uses it.
const canaryKept = `
services:
  kept:
    image: e2e-canary:shell
    command: ["http", "--port", "8088", "--name", "kept"]
    restart: unless-stopped
    environment: {KEPT: "${ROTATED}"}
    healthcheck: {test: ["CMD-SHELL", "[ -n '${ROTATED}' ]"], interval: 500ms, retries: 3}
  user:
    image: e2e-canary:shell
    command: ["http", "--port", "8089", "--name", "user"]
    restart: unless-stopped
    environment: {USED: "${ROTATED}"}
    depends_on: {kept: {condition: service_healthy}}
`

// rotationCommand gets the new value as its input and both as files, repeats them all, and
// fails until it is allowed to work.
const rotationCommand = `new=$(cat); dir=/.ktrdr/secrets/rotation; ` +
	`printf 'ROTATION-SAYS %s %s %s\n' "$new" "$(cat $dir/new)" "$(cat $dir/old)"; ` +
	`[ "$new" = "$(cat $dir/new)" ] && [ -e /allowed ]`

// rotate changes the kept secret: its command fails first and prints all it knows.
func (w *canaryWorld) rotate(t *testing.T) {
	t.Helper()
	kept, user := w.of("kept"), w.of("kept", "user")
	if got := w.on.environ(t, kept)["KEPT"]; got != w.first.Value {
		t.Fatal("the kept secret did not arrive intact")
	}
	before := service(w.status(), user).ID
	err := w.server.Edit(w.vault, w.item, func(it *connect.Item) {
		for i := range it.Fields {
			if it.Fields[i].Label == "rotated" {
				it.Fields[i].Value = w.second.Value
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	st := w.await("the rotation fails", time.Minute, func(st api.NodeStatus) bool { return len(conditions(st, api.ReasonRotationFailed)) > 0 })
	names(t, fmt.Sprint(conditions(st, api.ReasonRotationFailed)), "ROTATION-SAYS [redacted] [redacted] [redacted]")
	w.gather(t, "while a rotation fails")
	w.on.exec(t, kept, "sh", "-c", ": > /allowed")
	w.ctl(0, "sync")
	w.await("rotated", 2*time.Minute, func(st api.NodeStatus) bool {
		return stackOf(st, "kept").Converged && service(st, user).ID != before
	})
	if got := w.on.environ(t, user)["USED"]; got != w.second.Value {
		t.Error("the rotated secret did not arrive intact")
	}
	w.gather(t, "after a rotation")
}
