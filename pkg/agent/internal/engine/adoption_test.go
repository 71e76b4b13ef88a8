package engine_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client/pkg/versions"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired/compose"
	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/test/parity"
)

// adoptedFile uses what people use; IMAGE is the test image.
const adoptedFile = `
services:
  db:
    image: IMAGE
    command: ["serve", "--port", "5432"]
    environment: {A: "1", PASSWORD: "x", UNSET: }
    restart: unless-stopped
    stop_grace_period: 2500ms
    ports: ["127.0.0.1::5432", "9000"]
    volumes:
      - data:/var/lib/data
      - ./conf:/conf:ro
      - /anonymous
    healthcheck: {test: ["CMD", "/box", "exit", "0"], interval: 5s, retries: 3}
    networks:
      back: {aliases: [database], ipv4_address: 10.231.9.9}
      front:
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M}}}
    logging: {driver: json-file, options: {max-size: 1m}}
    security_opt: ["apparmor:unconfined", "no-new-privileges:true"]
    cap_drop: [ALL]
    extra_hosts: ["h:10.0.0.1", "gw:host-gateway"]
    tmpfs: [/scratch:size=1m]
    ulimits: {nofile: {soft: 1000, hard: 2000}}
    labels: {own: label}
    init: true
  web:
    image: IMAGE
    depends_on: [db]
    hostname: web-host
    user: "12"
    working_dir: /tmp
    mac_address: 02:42:0a:e7:09:4d
    dns: 9.9.9.9
    links: ["db:linked"]
    networks: [back]
    secrets: [token]
    configs: [{source: settings, target: /etc/settings}]
  sidecar:
    image: IMAGE
    network_mode: service:web
    pid: service:db
    volumes_from: ["db:ro"]
  host:
    image: IMAGE
    network_mode: host
    ipc: host
    healthcheck: {disable: true}
    entrypoint: /box serve
  job:
    image: IMAGE
    network_mode: none
    command: exit 0
    read_only: true
    shm_size: 8m
networks:
  front:
  back: {ipam: {config: [{subnet: 10.231.9.0/24}]}}
volumes:
  data:
secrets:
  token: {file: ./conf/token}
configs:
  settings: {file: ./conf/token}
`

// TestAdoptionOfComposeContainers brings a project up with docker compose itself on the
// real engine, and expects that nothing of it differs from what our side would make.
func TestAdoptionOfComposeContainers(t *testing.T) {
	c := realEngine(t)
	binary := parity.Compose(t, moduleRoot(t))
	image, err := c.InspectImage(t.Context(), boxImage, "")
	if err != nil {
		t.Fatal(err)
	}
	folder, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(folder, os.DirFS("testdata/adoption")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "compose.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(adoptedFile, "IMAGE", boxImage)), 0o600); err != nil {
		t.Fatal(err)
	}
	project := "engine-test-" + strconv.Itoa(os.Getpid())
	t.Cleanup(func() { composeDown(t, binary, folder, project) })
	if said, err := parity.Run(t, binary, engineHost(), folder, "-p", project, "--progress", "quiet", "up", "-d", "--no-build", "--pull", "never"); err != nil {
		t.Fatalf("docker compose up: %v: %s", err, said)
	}
	loaded, err := compose.Load(t.Context(), compose.Request{Root: folder, Dir: ".", Files: []string{"compose.yaml"}, Project: project, WorkingDirectory: folder})
	if err != nil {
		t.Fatal(err)
	}
	info, err := c.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, observed := range projectContainers(t, c, project) {
		for _, service := range loaded.Services {
			if observed.Labels[api.LabelService] != service.Name {
				continue
			}
			found++
			want := plan.Effective(service.Replicas[0].Spec, image)
			for _, diff := range plan.Diff(observed.Spec, want) {
				if versions.LessThan(info.APIVersion, "1.44") && isWriteless(service.Name, diff.Path) {
					continue
				}
				t.Errorf("%s %s: have %q, want %q", service.Name, diff.Path, diff.Have, diff.Want)
			}
		}
	}
	if found != 5 {
		t.Errorf("%d of 5 services were found", found)
	}
}

// isWriteless names the one known loss: docker compose 5 sends a MAC address where
// engines before API 1.44 don't look (docs/compose-differences.md).
func isWriteless(service, path string) bool {
	return service == "web" && filepath.Ext(path) == ".mac_address"
}

func projectContainers(t *testing.T, c *engine.Client, project string) []*api.Container {
	t.Helper()
	list, err := c.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var containers []*api.Container
	for _, observed := range list.Containers {
		if observed.Labels[api.LabelProject] == project {
			containers = append(containers, observed)
		}
	}
	return containers
}

func composeDown(t *testing.T, binary, folder, project string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "-p", project, "--progress", "quiet", "down", "-v", "-t", "0")
	cmd.Dir = folder
	cmd.Env = []string{"DOCKER_HOST=" + engineHost(), "HOME=" + folder}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("clean up: %v: %s", err, out)
	}
}
