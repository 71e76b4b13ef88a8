package fleet_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// edit replaces a text of a file, which has to be there.
type edit struct{ file, from, to string }

// sampleEdits make the sample desired state fit the machines of the test. Nothing else of
// it changes.
var sampleEdits = []edit{ //nolint:gochecknoglobals // a table
	{"fleet.yaml", "backend.ktrdr.home.mynerd.place", "backend.lab"},
	{"nodes/a.yaml", "backend.ktrdr.home.mynerd.place", "backend.lab"},
	{"nodes/b.yaml", "workers-b.ktrdr.home.mynerd.place", "workers-b.lab"},
	{"nodes/c.yaml", "workers-c.ktrdr.home.mynerd.place", "workers-c.lab"},
	{"nodes/gpu.yaml", "ktrdr-gpuworker.ktrdr.home.mynerd.place", "gpu.lab"},
	// 1Password Connect: the nodes have their values in files here.
	{"nodes/a.yaml", "    # All agents get their secrets from it, this one too.\n    - name: connect\n", ""},
	// No NFS server, no GPU, and no CPU quota in a container of LXC.
	{"nodes/a.yaml", "type: nfs", "type: tmpfs"},
	{"nodes/b.yaml", "type: nfs", "type: tmpfs"},
	{"nodes/c.yaml", "type: nfs", "type: tmpfs"},
	{"nodes/gpu.yaml", "type: nfs", "type: tmpfs"},
	{"stacks/workers/compose.yaml", "    cpus: \"1\"\n", ""},
	{"stacks/workers/compose.yaml", "    cpus: \"2\"\n", ""},
	{"stacks/gpu/compose.yaml", "          cpus: \"4\"\n", ""},
	{"stacks/gpu/compose.yaml", "        reservations:\n          devices:\n            - driver: nvidia\n              count: all\n              capabilities: [gpu]\n", ""},
	// An update is watched for a second, not for ten.
	{"stacks/workers/compose.yaml", "      resources: *backtest\n", "      resources: *backtest\n      update_config: {monitor: 1s}\n"},
	{"stacks/workers/compose.yaml", "      resources: *training\n", "      resources: *training\n      update_config: {monitor: 1s}\n"},
	{"stacks/gpu/compose.yaml", "    deploy:\n", "    deploy:\n      update_config: {monitor: 1s}\n"},
	{"stacks/core/compose.yaml", "    container_name: ktrdr-backend\n", "    container_name: ktrdr-backend\n    deploy: {update_config: {monitor: 1s}}\n"},
	{"stacks/core/compose.yaml", "    container_name: ktrdr-mcp\n", "    container_name: ktrdr-mcp\n    deploy: {update_config: {monitor: 1s}}\n"},
	// Registrations and backups are looked at every second or two, not every half or five minutes.
	{"stacks/workers/stack.yaml", "        state: status\n", "        state: status\n        interval: 2s\n"},
	{"stacks/gpu/stack.yaml", "        state: status\n", "        state: status\n        interval: 2s\n"},
	{"stacks/core/stack.yaml", "minSize: 1M}", "minSize: 1M, interval: 1s}"},
	// Workers look after their registration more often than people would notice.
	{"stacks/workers/compose.yaml", "x-environment: &environment\n", "x-environment: &environment\n  KTRDRSIM_REREGISTER_AFTER: 2s\n"},
	{"stacks/gpu/compose.yaml", "    environment:\n", "    environment:\n      KTRDRSIM_REREGISTER_AFTER: 2s\n"},
	{"stacks/core/compose.yaml", "      KTRDR_DB_HOST: db\n", "      KTRDR_DB_HOST: db\n      KTRDRSIM_HEALTH_INTERVAL: 2s\n"},
}

// writeSample writes the desired state of the homelab, for the machines of the test.
func writeSample(dir string) error {
	sample := os.DirFS(filepath.Join(module, "desired-state"))
	err := fs.WalkDir(sample, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "." || strings.HasPrefix(path, "stacks/connect") {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(dir, path), 0o755) //nolint:gosec // no secrets in it
		}
		text, err := fs.ReadFile(sample, path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, path), text, 0o644) //nolint:gosec // no secrets in it
	})
	if err != nil {
		return fmt.Errorf("copy the sample: %w", err)
	}
	for _, e := range sampleEdits {
		if err := e.apply(dir); err != nil {
			return err
		}
	}
	return nil
}

func (e edit) apply(dir string) error {
	path := filepath.Join(dir, e.file)
	text, err := os.ReadFile(path) //nolint:gosec // a file of the test
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), e.from) {
		return fmt.Errorf("%s has no %q", e.file, e.from)
	}
	return os.WriteFile(path, []byte(strings.ReplaceAll(string(text), e.from, e.to)), 0o644) //nolint:gosec // no secrets in it
}
