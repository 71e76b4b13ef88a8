package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"ktrdr.io/fleet/test/demo/image"
)

// imageTag is an image of our own, so that nobody else's containers change with it.
const imageTag = "ktrdr-bench:1"

// command is what the containers run: a tiny server that ends at once when asked to.
func command(name string) []string { return []string{"http", "--port", "8080", "--name", name} }

func checkCommand() []string { return []string{"curl", "-fs", "http://localhost:8080/"} }

// prepare builds the programs and the image.
func (b *bench) prepare(ctx context.Context) error {
	b.agent = b.readyAgent
	program := filepath.Join(b.dir, "ktrdrsim")
	builds := map[string]string{program: "./test/demo/ktrdrsim"}
	if b.agent == "" {
		b.agent = filepath.Join(b.dir, "ktrdr-agent")
		builds[b.agent] = "./cmd/agent"
	}
	for path, pkg := range builds {
		if err := goBuild(ctx, path, "-trimpath", "-ldflags=-s -w", pkg); err != nil {
			return err
		}
	}
	if _, err := image.Build(ctx, image.Options{Host: "unix://" + b.socket, Specs: images(), Program: program}); err != nil {
		return fmt.Errorf("make the image: %w", err)
	}
	if !b.withCompose {
		return nil
	}
	var err error
	if b.compose, err = composeBinary(ctx); err != nil {
		b.say("SKIPPED: docker compose can't be built, so nothing is compared with it: %v", err)
	}
	return nil
}

// images is the one image: the demonstration's without its healthcheck.
func images() []image.Spec {
	spec := image.Catalog()[0]
	spec.Tags = []string{imageTag}
	spec.Config.Healthcheck = nil
	return []image.Spec{spec}
}

func goBuild(ctx context.Context, path string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-o", path}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", filepath.Base(path), err, said)
	}
	return nil
}

// composeBinary builds docker compose at the version that tools/compose pins, into the
// cache folder that test/parity uses as well. KTRDR_COMPOSE names a ready one.
func composeBinary(ctx context.Context) (string, error) {
	if path := os.Getenv("KTRDR_COMPOSE"); path != "" {
		return path, nil
	}
	modfile := filepath.Join("tools", "compose", "go.mod")
	sum := sha256.New()
	for _, name := range []string{modfile, filepath.Join("tools", "compose", "go.sum")} {
		data, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		sum.Write(data)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, "ktrdr-fleet", "compose", hex.EncodeToString(sum.Sum(nil))[:16]+"-"+runtime.Version())
	binary := filepath.Join(folder, "docker-compose")
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	made := fmt.Sprintf("%s.%d", binary, os.Getpid())
	if err := goBuild(ctx, made, "-modfile="+modfile, "-trimpath", "-ldflags=-s -w", "github.com/docker/compose/v5/cmd"); err != nil {
		return "", err
	}
	return binary, os.Rename(made, binary)
}
