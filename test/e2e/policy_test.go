package e2e_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// TestPolicy: a good reference to a bad image, a bind of the host and a foreign reference
// block their stack as a whole; what runs stays, nothing is pruned, and a line in the
// node's own file opens the way.
func TestPolicy(t *testing.T) {
	web := `
services:
  web:
    image: ktrdr-demo:1
    command: ["http", "--port", "8080", "--name", "web"]
    restart: unless-stopped
    healthcheck: {disable: true}
    environment: {APP_PASSWORD: "op://e2e/app/password"}
`
	side := strings.ReplaceAll(strings.ReplaceAll(strings.TrimPrefix(web, "\nservices:"), "web", "side"), "8080", "8081")
	a := newAgent(t, web+side, "")
	policy := filepath.Join(a.home, "policy.yaml")
	const rules = "references: [op://e2e/app/*]\nregistries: [docker.io]\nimages: [docker.io/library/ktrdr-demo]\n"
	writeFile(t, policy, rules, 0o644)
	secrets := filepath.Join(a.home, "secrets.env")
	writeFile(t, secrets, "APP_PASSWORD=app-pass-7731\nOTHER_PASSWORD=other-pass-4410\n", 0o600)
	a.extra = []string{"policyFile: " + policy, "secrets: {dotenv: {file: " + secrets + "}, refresh: 1s}"}
	a.start()
	if st := a.converged(); !st.Policy.Enforced || st.Policy.File != policy {
		t.Errorf("policy in the status: %+v", st.Policy)
	}
	before := a.on.snapshot(t, a.name("web"), a.name("side"))

	greedy := strings.Replace(web, "environment: {", `environment: {OTHER_PASSWORD: "{{ op://e2e/other/password }}", `, 1)
	a.compose(greedy + "    volumes: [\"/etc:/host:ro\"]\n    network_mode: host\n")
	st := a.await("blocked", time.Minute, func(st api.NodeStatus) bool { return len(conditions(st, api.ReasonPolicyViolation)) >= 3 })
	var told []string
	for _, c := range conditions(st, api.ReasonPolicyViolation) {
		told = append(told, c.Message)
	}
	names(t, strings.Join(told, "\n"), "services.web.network_mode", "hostNamespaces", "services.web.volumes", "/etc (read-only)",
		"services.web.environment", "op://e2e/other/password", "`- {path: /etc, writable: false}` under hostPaths in "+policy)
	during(t, "what runs stays, also what is no longer wanted", 3*time.Second, func() bool {
		a.on.untouched(t, before)
		return !t.Failed()
	})
	phases := map[string]api.SecretPhase{}
	var known api.SecretsStatus
	if err := a.get("/v1/secrets", &known); err != nil {
		t.Fatal(err)
	}
	for _, s := range known.Secrets {
		phases[s.Reference] = s.Phase
	}
	if phases["op://e2e/app/password"] != api.SecretFresh || phases["op://e2e/other/password"] != api.SecretDenied {
		t.Errorf("phases %v", phases)
	}
	if found := conditions(a.status(), api.ReasonSecretsStale); len(found) > 0 {
		t.Errorf("somebody asked for a reference that is denied: %v", found)
	}

	writeFile(t, policy, "images: redis\n", 0o644)
	a.await("a broken file is told", time.Minute, func(st api.NodeStatus) bool {
		found := conditions(st, api.ReasonPolicyInvalid)
		return len(found) == 1 && strings.Contains(found[0].Message, policy+":1:9: images: must be a list")
	})
	a.on.untouched(t, before)

	writeFile(t, policy, strings.Replace(rules, "op://e2e/app/*", "op://e2e/app/*, op://e2e/other/password", 1)+
		"hostPaths: [{path: /etc}]\nprivileges: {hostNamespaces: [network]}\n", 0o644)
	if err := a.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	a.converged()
	if c := a.on.must(t, a.name("web")); c.same(before[a.name("web")]) || a.on.container(t, a.name("side")) != nil {
		t.Error("converged without the change")
	}
	a.stop()
	writeFile(t, policy, "images: redis\n", 0o644)
	said := len(a.log.String())
	a.start()
	_ = a.cmd.Wait() // with its last words, as a wait for the process alone would not be
	if state := a.cmd.ProcessState; state.ExitCode() != 1 || !strings.Contains(a.log.String()[said:], policy+":1:9: images: must be a list") {
		t.Errorf("with a broken policy the agent ended with %v:\n%s", state, a.log.String()[said:])
	}
	a.cmd = nil
	leak(t, "the log", a.log.String(), []string{"app-pass-7731", "other-pass-4410"})
}
