package main_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/api"
)

const canary = "q\"uo$te\\back\nnew\tümlaut'"

func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "ktrdr-exec")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

func secretsDir(t *testing.T, values map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for ref, value := range values {
		sum := sha256.Sum256([]byte(ref))
		if err := os.WriteFile(filepath.Join(dir, hex.EncodeToString(sum[:])), []byte(value), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestBecomesTheProgram: values arrive intact in environment and arguments, and the shim
// is gone: the program has its process.
func TestBecomesTheProgram(t *testing.T) {
	bin := build(t)
	const ref = "op://KTRDR Homelab Secrets/core/db_password"
	dir := secretsDir(t, map[string]string{ref: canary, "op://v/i/f": "second"})
	cmd := exec.CommandContext(t.Context(), bin, "--", "sh", "-c",
		`printf '%s|%s|%s|%s' "$URL" "$PLAIN" "$1" "${KTRDR_SECRETS_DIR-unset}"; exec test "$PPID" = "$2"`,
		"sh", "pre"+api.Placeholder("op://v/i/f")+"post", "")
	cmd.Args[len(cmd.Args)-1] = itoa(os.Getpid())
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "KTRDR_SECRETS_DIR=" + dir, "PLAIN=op://not/a/placeholder", "URL=pg://u:" + api.Placeholder(ref) + "@db"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := "pg://u:" + canary + "@db|op://not/a/placeholder|presecondpost|unset"
	if string(out) != want {
		t.Errorf("got  %q\nwant %q", out, want)
	}
}

func itoa(n int) string {
	var b []byte
	for ; n > 0; n /= 10 {
		b = append([]byte{byte('0' + n%10)}, b...)
	}
	return string(b)
}

// TestFailsClosed: without a value nothing is started, and the message names the
// reference and no value.
func TestFailsClosed(t *testing.T) {
	bin := build(t)
	marker := filepath.Join(t.TempDir(), "started")
	for name, c := range map[string]struct {
		dir  string
		argv []string
		code int
		says string
	}{
		"missing value":  {t.TempDir(), []string{"touch", marker, api.Placeholder("op://v/i/f")}, 125, "op://v/i/f"},
		"zero byte":      {secretsDir(t, map[string]string{"op://v/i/f": canary + "\x00"}), []string{"touch", marker, api.Placeholder("op://v/i/f")}, 125, "zero byte"},
		"too large":      {secretsDir(t, map[string]string{"op://v/i/f": strings.Repeat("x", 1<<20+1)}), []string{"touch", marker, api.Placeholder("op://v/i/f")}, 125, "larger than"},
		"no program":     {t.TempDir(), nil, 125, "name a program"},
		"not in PATH":    {t.TempDir(), []string{"no-such-program"}, 127, "not in PATH"},
		"not executable": {t.TempDir(), []string{"/etc/passwd"}, 126, "permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), bin, c.argv...)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "KTRDR_SECRETS_DIR=" + c.dir}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			_ = cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != c.code {
				t.Errorf("exit code %d, want %d", got, c.code)
			}
			if !strings.Contains(stderr.String(), c.says) || strings.Contains(stderr.String(), "ümlaut") {
				t.Errorf("message: %s", stderr.String())
			}
			if _, err := os.Stat(marker); err == nil {
				t.Error("the program was started")
			}
		})
	}
}
