package enginetest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
)

// Docker is the engine of this machine, for tests: the client's own way to it would
// prove nothing about the client.
type Docker struct {
	Host string
	http *http.Client
}

// FindDocker returns the engine at DOCKER_HOST or /var/run/docker.sock, or skips the
// test, also under -short.
func FindDocker(t *testing.T) *Docker {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: -short leaves out tests that need a Docker engine")
	}
	host := os.Getenv("DOCKER_HOST")
	if host == "" {
		host = engine.Default().Host
	}
	socket, ok := strings.CutPrefix(host, "unix://")
	if !ok {
		t.Skipf("SKIPPED: DOCKER_HOST %s is no unix socket", host)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	d := &Docker{Host: host, http: &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: time.Minute}}
	t.Cleanup(d.http.CloseIdleConnections)
	if err := d.call(t.Context(), http.MethodGet, "/_ping", nil); err != nil {
		t.Skipf("SKIPPED: no Docker engine answers at %s: %v", host, err)
	}
	return d
}

// LoadImage builds the test program, makes it the image ref (defaults: ENTRYPOINT
// [Prog], CMD [serve], IMAGE_KEY=image, VOLUME /data) and removes it after the test.
func (d *Docker) LoadImage(t *testing.T, ref string) {
	t.Helper()
	layer, err := programLayer(t)
	if err != nil {
		t.Fatalf("make the layer of %s: %v", ref, err)
	}
	name, tag, _ := strings.Cut(ref, ":")
	query := url.Values{"fromSrc": {"-"}, "repo": {name}, "tag": {tag}, "changes": {
		`ENTRYPOINT ["` + Prog + `"]`, `CMD ["serve"]`, "ENV IMAGE_KEY=image", "VOLUME /data", "LABEL from.image=yes",
	}}
	if err := d.call(t.Context(), http.MethodPost, "/images/create?"+query.Encode(), layer); err != nil {
		t.Fatalf("load image %s: %v", ref, err)
	}
	t.Cleanup(func() { d.ignoreMissing(t, http.MethodDelete, "/images/"+ref+"?force=1") })
}

// programLayer is a file system of the test program and the folders that it writes to.
func programLayer(t *testing.T) (io.Reader, error) {
	self, err := sourceFolder(t.Context())
	if err != nil {
		return nil, err
	}
	binary := filepath.Join(t.TempDir(), "prog")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, ".")
	build.Dir = filepath.Join(self, "testdata", "prog")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w: %s", err, out)
	}
	content, err := os.ReadFile(binary) //nolint:gosec // built above
	if err != nil {
		return nil, err
	}
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	for _, folder := range []string{"tmp/", "data/", "etc/"} {
		if err := archive.WriteHeader(&tar.Header{Name: folder, Typeflag: tar.TypeDir, Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	if err := archive.WriteHeader(&tar.Header{Name: Prog[1:], Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		return nil, err
	}
	_, err = archive.Write(content)
	return &layer, errors.Join(err, archive.Close())
}

// sourceFolder finds this package's folder: tests run in the folder of their own package.
func sourceFolder(ctx context.Context) (string, error) {
	const self = "ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	out, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", self).Output()
	if err != nil {
		return "", fmt.Errorf("go list %s: %w", self, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Kill is `docker kill`.
func (d *Docker) Kill(ctx context.Context, id string) error {
	return d.call(ctx, http.MethodPost, "/containers/"+id+"/kill", nil)
}

// Pause is `docker pause`.
func (d *Docker) Pause(ctx context.Context, id string) error {
	return d.call(ctx, http.MethodPost, "/containers/"+id+"/pause", nil)
}

// RemoveVolume is `docker volume rm -f`.
func (d *Docker) RemoveVolume(ctx context.Context, name string) error {
	return d.call(ctx, http.MethodDelete, "/volumes/"+url.PathEscape(name)+"?force=1", nil)
}

// RemoveNetwork is `docker network rm`.
func (d *Docker) RemoveNetwork(ctx context.Context, id string) error {
	return d.call(ctx, http.MethodDelete, "/networks/"+id, nil)
}

// RemoveContainer is `docker rm -f -v`.
func (d *Docker) RemoveContainer(ctx context.Context, id string) error {
	return d.call(ctx, http.MethodDelete, "/containers/"+id+"?force=1&v=1", nil)
}

func (d *Docker) ignoreMissing(t *testing.T, method, path string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if err := d.call(ctx, method, path, nil); err != nil && !strings.Contains(err.Error(), "404") {
		t.Errorf("clean up: %v", err)
	}
}

func (d *Docker) call(ctx context.Context, method, path string, body io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, body)
	if err != nil {
		return err
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusBadRequest || bytes.Contains(text, []byte(`"errorDetail"`)) {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, bytes.TrimSpace(text))
	}
	return nil
}
