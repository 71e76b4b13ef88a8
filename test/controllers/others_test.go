package controllers_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Exit codes of ktrdrctl status.
const (
	notConverged = 2
	unanswered   = 4
)

// TestAnyController: the credentials that init writes name all controllers, and ktrdrctl reads and
// changes the fleet while only one of them runs, whichever.
func TestAnyController(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.forge.push("the first", state())
	ask := func(args ...string) (out string, code int) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, ctl, args...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "KTRDR_CONFIG=" + filepath.Join(w.c[0].dir, "admin.yaml"), "HOME=" + t.TempDir()}
		text, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(text), cmd.ProcessState.ExitCode()
	}
	for _, c := range w.c {
		c.start()
		await(t, "status by the one that runs", func() bool {
			out, code := ask("status")
			return code == notConverged && strings.Contains(out, "the first")
		})
		if out, code := ask("node", "join-token", "new"); code != 0 {
			t.Errorf("a change ends with %d\n%s", code, out)
		}
		c.kill()
		out, code := ask("status")
		if code != unanswered || !strings.Contains(out, w.c[0].addr) || !strings.Contains(out, w.c[1].addr) {
			t.Errorf("nobody runs: %d\n%s", code, out)
		}
	}
}
