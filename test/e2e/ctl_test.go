package e2e_test

import (
	"errors"
	"os/exec"
	"testing"
)

// ctl runs ktrdrctl against the agent and checks its exit code.
func (a *agent) ctl(want int, args ...string) string {
	a.t.Helper()
	cmd := exec.CommandContext(a.t.Context(), binaries.ctl, append([]string{"--agent", "unix://" + a.socket}, args...)...)
	out, err := cmd.CombinedOutput()
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
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
		code int
		args []string
	}{
		{0, []string{"status"}},
		{0, []string{"status", "-o", "json"}},
		{0, []string{"plan"}},
		{0, []string{"validate", a.repo}},
		{0, []string{"plan", a.repo}},
		{0, []string{"events"}},
		{0, []string{"version"}},
	} {
		t.Log(a.ctl(c.code, c.args...))
	}
	a.write("stacks/app/compose.yaml", "services: {web: {image: 1, portz: []}}")
	t.Log(a.ctl(1, "validate", a.repo))
}
