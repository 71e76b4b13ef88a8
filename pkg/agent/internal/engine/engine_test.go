package engine_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// prefix is in the name of all that these tests make.
const prefix = "engine-test-"

// boxRepository holds scratch images of testdata/box, one for each run.
const boxRepository = "ktrdr.test/engine-box"

// boxImage is this run's: another run may end, and clean up, at any time.
var boxImage = fmt.Sprintf("%s:%d", boxRepository, os.Getpid()) //nolint:gochecknoglobals // one image for all tests

// boxOnce makes the image once for all tests of a run.
var boxOnce = sync.OnceValue(makeBox) //nolint:gochecknoglobals // one image for all tests

func TestMain(m *testing.M) {
	code := m.Run()
	removeBox()
	os.Exit(code)
}

// removeBox removes the image, where a test made it, and those of runs that were aborted.
func removeBox() {
	cli, err := client.New(client.WithHost(engineHost()))
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	images, err := cli.ImageList(ctx, client.ImageListOptions{Filters: client.Filters{}.Add("reference", boxRepository)})
	if err != nil {
		return
	}
	for _, image := range images.Items {
		old := time.Since(time.Unix(image.Created, 0)) > time.Hour
		for _, tag := range image.RepoTags {
			if tag == boxImage || old {
				_, _ = cli.ImageRemove(ctx, tag, client.ImageRemoveOptions{Force: true})
			}
		}
	}
}

// realEngine returns a client of the engine of this machine, or skips the test.
func realEngine(t *testing.T) *engine.Client {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: -short leaves out tests that need a Docker engine")
	}
	host := engineHost()
	if path, ok := strings.CutPrefix(host, "unix://"); ok {
		conn, err := net.DialTimeout("unix", path, 10*time.Second) //nolint:noctx // bounded
		if err != nil {
			t.Skipf("SKIPPED: no Docker engine at %s: %v", host, err)
		}
		_ = conn.Close()
	}
	c, err := engine.New(engine.Config{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := boxOnce(); err != nil {
		t.Fatalf("make the test image: %v", err)
	}
	return c
}

func engineHost() string {
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		return host
	}
	return engine.Default().Host
}

// makeBox builds testdata/box and imports it: no builder and no registry is needed.
func makeBox() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	folder, err := os.MkdirTemp("", prefix)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	binary := filepath.Join(folder, "box")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./testdata/box")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	for _, dir := range []string{"etc/", "tmp/", "data/", "run/"} {
		if err := archive.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o777}); err != nil {
			return err
		}
	}
	if err := archive.WriteHeader(&tar.Header{Name: "box", Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	if _, err := archive.Write(content); err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return importImage(ctx, boxImage, &layer, []string{
		`ENTRYPOINT ["/box"]`, `CMD ["serve"]`, "ENV IMAGE_KEY=image SHARED=image", "LABEL from.image=yes",
		"EXPOSE 9000/tcp", "WORKDIR /data", "VOLUME /data",
		`HEALTHCHECK --interval=30s --retries=4 CMD ["/box", "exit", "0"]`,
	})
}

func importImage(ctx context.Context, ref string, layer *bytes.Buffer, changes []string) error {
	cli, err := client.New(client.WithHost(engineHost()))
	if err != nil {
		return err
	}
	result, err := cli.ImageImport(ctx, client.ImageImportSource{Source: layer, SourceName: "-"}, ref, client.ImageImportOptions{Changes: changes})
	if err != nil {
		return err
	}
	defer func() { _ = result.Close() }()
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(result); err != nil {
		return err
	}
	if strings.Contains(answer.String(), "errorDetail") {
		return errors.New(answer.String())
	}
	return nil
}

// name returns a name that no other test and no other run has.
func name(t *testing.T, suffix string) string {
	t.Helper()
	clean := strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' || r == '#' || r == '=' || r == ',' || r == ':' {
			return '-'
		}
		return r
	}, strings.ToLower(t.Name()))
	return fmt.Sprintf("%s%d-%s-%s", prefix, os.Getpid(), clean, suffix)
}

// create makes a container that is removed with the test, its anonymous volumes too.
func create(t *testing.T, c *engine.Client, req engine.CreateRequest) string {
	t.Helper()
	id, err := c.Create(t.Context(), req)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	t.Cleanup(func() { discard(t, id) })
	return id
}

// discard removes a container with its anonymous volumes, which the client never does.
func discard(t *testing.T, id string) {
	t.Helper()
	cli, err := client.New(client.WithHost(engineHost()))
	if err != nil {
		t.Error(err)
		return
	}
	_, err = cli.ContainerRemove(context.WithoutCancel(t.Context()), id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !strings.Contains(err.Error(), "No such container") {
		t.Errorf("clean up container %s: %v", id, err)
	}
}

// discardVolume removes a volume that its container has left behind.
func discardVolume(t *testing.T, volume string) {
	t.Helper()
	cli, err := client.New(client.WithHost(engineHost()))
	if err != nil {
		t.Error(err)
		return
	}
	if _, err := cli.VolumeRemove(context.WithoutCancel(t.Context()), volume, client.VolumeRemoveOptions{}); err != nil {
		t.Errorf("clean up volume: %v", err)
	}
}

func createNetwork(t *testing.T, c *engine.Client, spec api.NetworkSpec) string {
	t.Helper()
	id, err := c.CreateNetwork(t.Context(), spec, map[string]string{api.LabelStack: "engine-test"})
	if err != nil {
		t.Fatalf("CreateNetwork: %v", err)
	}
	t.Cleanup(func() {
		if err := c.RemoveNetwork(context.WithoutCancel(t.Context()), id); err != nil {
			t.Errorf("clean up network: %v", err)
		}
	})
	return id
}

func inspect(t *testing.T, c *engine.Client, id string) *api.Container {
	t.Helper()
	read, err := c.InspectContainer(t.Context(), id)
	if err != nil {
		t.Fatalf("InspectContainer: %v", err)
	}
	return read
}
