package fleet_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// prometheus is Debian's, on the network, with the controller's service discovery alone.
type prometheus struct{ url string }

func startPrometheus(t *testing.T, f *fleet) *prometheus {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(module, "scripts/prometheus.sh"))
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	program, err := cmd.Output()
	if err != nil {
		t.Skipf("SKIPPED: service discovery needs a real Prometheus: %s", complaint.String())
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := write("prometheus.yml", f.prometheusConfig(t, dir))
	listener, err := world.network.Listen() // a port that is free a moment later
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := contextFor(time.Hour)
	server := world.network.Command(ctx, strings.TrimSpace(string(program)), "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=warn")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = server.Wait() // killed
		_ = log.Close()
		if said, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("Prometheus says:\n%s", said)
		}
	})
	return &prometheus{url: "http://" + address}
}

// await waits until Prometheus scrapes these workers with success, and no others.
func (p *prometheus) await(t *testing.T, what string, addresses ...string) time.Duration {
	t.Helper()
	slices.Sort(addresses)
	began := time.Now()
	var last []string
	if !poll(t, func() bool {
		var answer struct {
			Data struct {
				ActiveTargets []struct {
					Labels map[string]string
					Health string
				}
			}
		}
		if err := overNetwork(p.url+"/api/v1/targets?state=active", &answer); err != nil {
			return false
		}
		last = nil
		up := true
		for _, target := range answer.Data.ActiveTargets {
			if !strings.Contains(target.Labels["instance"], "backend") {
				last = append(last, target.Labels["instance"])
				up = up && target.Health == "up"
			}
		}
		slices.Sort(last)
		return up && slices.Equal(last, addresses)
	}) {
		t.Fatalf("%s: Prometheus scrapes %v, wanted %v", what, last, addresses)
	}
	return since(began)
}
