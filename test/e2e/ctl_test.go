package e2e_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// ctl runs ktrdrctl against the agent and checks its exit code.
func (a *agent) ctl(want int, args ...string) string {
	a.t.Helper()
	cmd := exec.CommandContext(a.t.Context(), binaries.ctl, append([]string{"--agent", "unix://" + a.socket}, args...)...)
	out, err := cmd.CombinedOutput()
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		a.t.Fatal(err)
	}
	if code != want {
		a.t.Fatalf("ktrdrctl %v: exit code %d, wanted %d\n%s", args, code, want, out)
	}
	return string(out)
}

// TestCtl shows the verbs against a real agent.
func TestCtl(t *testing.T) {
	a := newAgent(t, twoServices, "")
	a.start()
	a.converged()
	for _, c := range []struct {
		says string
		args []string
	}{
		{a.name("web"), []string{"status"}},
		{`"converged": true`, []string{"status", "-o", "json"}},
		{"nothing to do", []string{"plan"}},
		{"", []string{"validate", a.repo}},
		{"nothing to do", []string{"plan", a.repo}},
		{"desired state accepted", []string{"events"}},
		{"", []string{"version"}},
		{"", []string{"logs", "app"}},
	} {
		if out := a.ctl(0, c.args...); !strings.Contains(strings.ToLower(out), c.says) {
			t.Errorf("ktrdrctl %v does not say %q:\n%s", c.args, c.says, out)
		}
	}
	a.write("stacks/app/compose.yaml", "services: {web: {image: 1, portz: []}}")
	if out := a.ctl(1, "validate", a.repo); !strings.Contains(out, "stacks/app/compose.yaml:1:") {
		t.Errorf("validate names no place:\n%s", out)
	}
}
