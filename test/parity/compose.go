package parity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

const (
	// buildLimit bounds the build of docker compose, which takes minutes with a cold cache.
	buildLimit = 15 * time.Minute
	// runLimit bounds one run of docker compose, against a recorder or an engine.
	runLimit = 5 * time.Minute
)

// Compose returns docker compose, built from tools/compose at the versions that it pins
// and kept in the user's cache folder. Where it can't be had the test is skipped.
func Compose(t *testing.T, root string) string {
	t.Helper()
	if path := os.Getenv("KTRDR_COMPOSE"); path != "" {
		return path
	}
	modfile := filepath.Join(root, "tools", "compose", "go.mod")
	sum := sha256.New()
	for _, name := range []string{modfile, filepath.Join(filepath.Dir(modfile), "go.sum")} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sum.Write(data)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("SKIPPED: no cache folder for docker compose: %v", err)
	}
	key := hex.EncodeToString(sum.Sum(nil))[:16] + "-" + runtime.Version()
	binary := filepath.Join(cache, "ktrdr-fleet", "compose", key, "docker-compose")
	if _, err := os.Stat(binary); err == nil {
		return binary
	}
	if err := build(t.Context(), root, modfile, binary); err != nil {
		t.Skipf("SKIPPED: docker compose can't be built: %v", err)
	}
	return binary
}

func build(ctx context.Context, root, modfile, binary string) error {
	ctx, cancel := context.WithTimeout(ctx, buildLimit)
	defer cancel()
	if err := os.MkdirAll(filepath.Dir(binary), 0o700); err != nil {
		return err
	}
	// Several packages' tests may build at a time: the last rename wins.
	made := fmt.Sprintf("%s.%d", binary, os.Getpid())
	cmd := exec.CommandContext(ctx, "go", "build", "-modfile="+modfile, "-trimpath", "-ldflags=-s -w", "-o", made, "github.com/docker/compose/v5/cmd")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return os.Rename(made, binary)
}

// Run runs docker compose in a folder against an engine, with an environment of nothing
// but that, and returns what it said.
func Run(t *testing.T, binary, host, folder string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = folder
	home := t.TempDir()
	cmd.Env = []string{"DOCKER_HOST=" + host, "HOME=" + home, "DOCKER_CONFIG=" + home, "PATH=/nonexistent"}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	return said.String(), err
}
