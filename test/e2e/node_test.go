package e2e_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ktrdr.io/fleet/test/demo/image"
	"ktrdr.io/fleet/test/lab"
)

// newNode starts a Docker host of the test's own with the demonstration images.
func newNode(t *testing.T) (*lab.Node, docker) {
	t.Helper()
	n, err := lab.Start(t.Context())
	if errors.Is(err, lab.ErrUnavailable) {
		t.Skipf("SKIPPED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("remove node: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := image.Build(ctx, image.Options{Host: "unix://" + n.Socket, Program: binaries.program}); err != nil {
		t.Fatal(err)
	}
	return n, docker{socket: n.Socket}
}

// on runs a program in the namespaces of a node.
func on(t testing.TB, n *lab.Node, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := n.Run(ctx, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// mountShare mounts a file system where the user's nodes have their NFS share.
func mountShare(t testing.TB, n *lab.Node) {
	t.Helper()
	on(t, n, "mkdir", "-p", share)
	on(t, n, "mount", "-t", "tmpfs", "-o", "mode=2775,gid=1500", "tmpfs", share)
	on(t, n, "mkdir", "-p", share+"/data", share+"/models", share+"/strategies")
}

// share is the mount point of the NFS share. Every node mounts a file system of its own
// on /mnt first, so that the machine's stays as it is.
const share = "/mnt/ktrdr_data"

// module is the folder of go.mod.
func module(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// copyTree copies a folder.
func copyTree(t testing.TB, from, to string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // no secrets in it
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
