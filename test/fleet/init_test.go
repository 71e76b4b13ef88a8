package fleet_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const controllerConfig = "names: [controller.lab]\n"

// initController starts the unit, which makes the fleet, and takes the admin's credentials
// home.
func (f *fleet) initController() error {
	if err := f.controller.put("/etc/ktrdr/controller.yaml", controllerConfig, 0o644); err != nil {
		return err
	}
	if out, err := f.controller.try("systemctl", "enable", "--now", "--quiet", "ktrdr-controller"); err != nil {
		return fmt.Errorf("%w: %s\n%s", err, out, f.controller.lastWords("ktrdr-controller"))
	}
	return copyFile(f.controller.Path(stateDir+"/admin.yaml"), filepath.Join(world.dir, "admin.yaml"), 0o600)
}

// prometheusConfig is that of docs/operations.md, with shorter intervals.
func (f *fleet) prometheusConfig(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "prometheus.yaml")
	f.admin.ctl(t, 0, "operator", "add", "prometheus", "--role", "viewer", "--output", path)
	token, authority := readCredentials(t, path)
	for name, text := range map[string]string{"token": token, "ca.pem": authority} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return strings.NewReplacer("DIR", dir, "INTERVAL", time.Second.String()).Replace(`
global: {scrape_interval: INTERVAL, scrape_timeout: INTERVAL}
scrape_configs:
  - job_name: workers
    metrics_path: /metrics/
    http_sd_configs:
      - url: https://` + controllerAddress + `/v1/sd/prometheus
        refresh_interval: INTERVAL
        authorization: {type: Bearer, credentials_file: DIR/token}
        tls_config: {ca_file: DIR/ca.pem}
    relabel_configs:
      - {source_labels: [stack], regex: workers|gpu, action: keep}
`)
}
