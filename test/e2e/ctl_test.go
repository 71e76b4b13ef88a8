package e2e_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ctl runs ktrdrctl against the agent and checks its exit code.
func (a *agent) ctl(want int, args ...string) string {
	a.t.Helper()
	out, code := a.tryCtl(args...)
	if code != want {
		a.t.Fatalf("ktrdrctl %v: exit code %d, wanted %d\n%s", args, code, want, out)
	}
	return out
}

// tryCtl runs it and returns its exit code.
func (a *agent) tryCtl(args ...string) (out string, code int) {
	a.t.Helper()
	cmd := exec.CommandContext(a.t.Context(), binaries.ctl, append([]string{"--agent", "unix://" + a.socket}, args...)...)
	data, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		a.t.Fatal(err)
	}
	return string(data), code
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
	// An image that is here, and one that is not; neither was ever in the desired state.
	for tag, wants := range map[string][]string{"ktrdr-demo:2": {" -> ktrdr-demo:2 "}, "ktrdr-demo:never": {" -> ktrdr-demo:never", "pull-image ktrdr-demo:never: image is not on this node"}} {
		folder := filepath.Join(t.TempDir(), "folder")
		if err := os.CopyFS(folder, os.DirFS(a.repo)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "stacks/app/compose.yaml"), []byte(strings.ReplaceAll(twoServices, "ktrdr-demo:1", tag)), 0o600); err != nil {
			t.Fatal(err)
		}
		out := a.ctl(2, "plan", folder)
		for _, want := range append(wants, "stop-container "+a.name("web")+": image changed") {
			if !strings.Contains(out, want) {
				t.Errorf("the plan of another image does not say %q:\n%s", want, out)
			}
		}
	}
	if out := a.ctl(0, "plan"); !strings.Contains(out, "nothing to do") {
		t.Errorf("after plans of folders: %s", out)
	}
	a.write("stacks/app/compose.yaml", "services: {web: {image: 1, portz: []}}")
	if out := a.ctl(1, "validate", a.repo); !strings.Contains(out, "stacks/app/compose.yaml:1:") {
		t.Errorf("validate names no place:\n%s", out)
	}
}
