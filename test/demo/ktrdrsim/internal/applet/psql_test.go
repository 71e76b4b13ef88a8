package applet_test

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/applet"
	"ktrdr.io/fleet/test/port"
)

// TestSampleRotation runs the command of the sample desired state against the stand-in for
// the database, which keeps its password as the real one does.
func TestSampleRotation(t *testing.T) {
	host, port := "127.0.0.1", freePort(t)
	env := []string{"PGDATA=" + t.TempDir(), "PGPORT=" + port, "POSTGRES_USER=ktrdr", "POSTGRES_PASSWORD=first"}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() { ended <- start(ctx, env, "postgres").code }()
	defer func() {
		cancel()
		if code := <-ended; code != 0 {
			t.Errorf("the database ended with %d", code)
		}
	}()
	accepts := func(password string) bool {
		return start(ctx, append(env, "PGPASSWORD="+password), "psql", "-h", host, "-p", port, "-U", "ktrdr", "-d", "x", "-c", "select 1").out == "1\n"
	}
	for limit := time.Now().Add(time.Minute); !accepts("first"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the database does not start")
		}
	}
	const second = `second'"$(id)\pass word-ü`
	var out bytes.Buffer
	code := applet.Run(ctx, applet.Process{Args: sampleCommand(t, "db"), Environ: env, Stdin: strings.NewReader(second), Stdout: &out, Stderr: &out})
	if code != 0 || out.Len() > 0 {
		t.Errorf("code %d: %s", code, &out)
	}
	if !accepts(second) || accepts("first") {
		t.Error("the second password is not the one in force")
	}
}

// TestSampleRotationOfGrafana does so with the stand-in for Grafana.
func TestSampleRotationOfGrafana(t *testing.T) {
	port := freePort(t)
	env := []string{"GF_PATHS_DATA=" + t.TempDir(), "GF_SERVER_HTTP_PORT=" + port, "GF_SECURITY_ADMIN_PASSWORD=first"}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() { ended <- start(ctx, env, "/run.sh").code }()
	defer func() {
		cancel()
		if code := <-ended; code != 0 {
			t.Errorf("grafana ended with %d", code)
		}
	}()
	accepts := func(password string) bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+"/api/org", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth("admin", password)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	for limit := time.Now().Add(time.Minute); !accepts("first"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("grafana does not start")
		}
	}
	const second = `second'"$(id)\pass word-ü`
	var out bytes.Buffer
	code := applet.Run(ctx, applet.Process{Args: sampleCommand(t, "grafana"), Environ: env, Stdin: strings.NewReader(second), Stdout: &out, Stderr: &out})
	if code != 0 || strings.Contains(out.String(), "second") {
		t.Errorf("code %d: %s", code, &out)
	}
	if !accepts(second) || accepts("first") {
		t.Error("the second password is not the one in force")
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	_, number, err := net.SplitHostPort(port.Reserve(t))
	if err != nil {
		t.Fatal(err)
	}
	return number
}

// sampleCommand is the rotation command of a service of the sample.
func sampleCommand(t *testing.T, service string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "..", "desired-state/stacks/core/stack.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var stack struct {
		Spec struct {
			Services map[string]struct {
				Rotation []struct{ Exec []string }
			}
		}
	}
	if err := yaml.Unmarshal(data, &stack); err != nil {
		t.Fatal(err)
	}
	return stack.Spec.Services[service].Rotation[0].Exec
}
