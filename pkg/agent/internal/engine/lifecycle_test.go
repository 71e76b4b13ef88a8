package engine_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// says waits until a container has printed a word: its program is ready for signals then.
func says(t *testing.T, c *engine.Client, id, word string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		logs, err := c.Logs(t.Context(), id, 10)
		if err == nil && strings.Contains(logs, word) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it has not said %q: %q, %v", word, logs, err)
		}
	}
}

func TestLifeOfAContainer(t *testing.T) {
	c := realEngine(t)
	ctx := t.Context()
	network := name(t, "net")
	networkID := createNetwork(t, c, api.NetworkSpec{Name: network})
	req := engine.CreateRequest{Name: name(t, "a"), Spec: api.ContainerSpec{
		Image:     boxImage,
		Endpoints: []api.Endpoint{{Network: network, Aliases: []string{"a", "box"}}},
	}, Labels: map[string]string{api.LabelStack: "engine-test"}}
	id := create(t, c, req)

	read := inspect(t, c, id)
	if read.State != api.StateCreated || read.Name != req.Name {
		t.Errorf("state %q, name %q", read.State, read.Name)
	}
	engine.ResolveNetworks(read, slices.Values([]*api.Network{{ID: networkID, Name: network}}))
	if read.Attached[networkID].Name != network {
		t.Errorf("attached before start: %v, want %s", read.Attached, networkID)
	}
	for range 2 {
		if err := c.Start(ctx, id); err != nil {
			t.Fatalf("Start: %v", err)
		}
	}
	read = inspect(t, c, id)
	live := read.Attached[networkID]
	if read.State != api.StateRunning || live.Address == "" || read.Pid == 0 || read.StartedAt.IsZero() {
		t.Errorf("running: state %q, attached %+v, pid %d", read.State, live, read.Pid)
	}
	if diff := cmp.Diff([]string{"a", "box"}, live.Aliases); diff != "" {
		t.Errorf("aliases (-want +got):\n%s", diff)
	}
	if len(read.AnonymousVolumes) != 1 || read.AnonymousVolumes["/data"] == "" {
		t.Errorf("anonymous volumes: %v", read.AnonymousVolumes)
	}
	result, err := c.Exec(ctx, engine.ExecRequest{ID: id, Command: []string{"/box", "exit", "3", "hello", "there"}})
	if err != nil || result.ExitCode != 3 || result.Output != "hello there\n" {
		t.Errorf("Exec: %+v, %v", result, err)
	}
	says(t, c, id, "serving")
	says(t, c, id, "to stderr")
	for range 2 {
		if err := c.Stop(ctx, engine.StopRequest{ID: id}); err != nil {
			t.Fatalf("Stop: %v", err)
		}
	}
	if read := inspect(t, c, id); read.State != api.StateExited || read.ExitCode != 0 {
		t.Errorf("after stop: %s %d", read.State, read.ExitCode)
	}
	for range 2 {
		if err := c.Rename(ctx, id, name(t, "b")); err != nil {
			t.Fatalf("Rename: %v", err)
		}
	}
	t.Cleanup(func() { discardVolume(t, read.AnonymousVolumes["/data"]) })
	for range 2 {
		if err := c.Remove(ctx, id); err != nil {
			t.Fatalf("Remove: %v", err)
		}
	}
	if _, err := c.InspectContainer(ctx, id); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("inspect of what is gone: %v", err)
	}
	if err := c.Stop(ctx, engine.StopRequest{ID: id}); err != nil {
		t.Errorf("stop of what is gone: %v", err)
	}
}

func TestStopHonoursFractionsOfASecond(t *testing.T) {
	c := realEngine(t)
	id := create(t, c, engine.CreateRequest{Name: name(t, "a"), Spec: api.ContainerSpec{
		Image: boxImage, Command: []string{"stubborn"}, NetworkMode: "none", Restart: api.RestartPolicy{Name: "always"},
	}})
	if err := c.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	says(t, c, id, "stubborn")
	grace := 300 * time.Millisecond
	begin := time.Now()
	if err := c.Stop(t.Context(), engine.StopRequest{ID: id, Grace: &grace}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < grace {
		t.Errorf("killed after %s, grace is %s", took, grace)
	}
	if read := inspect(t, c, id); read.State != api.StateExited || read.ExitCode != 137 {
		t.Errorf("after stop: %s %d", read.State, read.ExitCode)
	}
}

func TestStopSendsTheGivenSignal(t *testing.T) {
	c := realEngine(t)
	id := create(t, c, engine.CreateRequest{Name: name(t, "a"), Spec: api.ContainerSpec{Image: boxImage, NetworkMode: "none"}})
	if err := c.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	says(t, c, id, "serving")
	if err := c.Stop(t.Context(), engine.StopRequest{ID: id, Signal: "SIGUSR1"}); err != nil {
		t.Fatal(err)
	}
	says(t, c, id, "user defined signal 1")
}

func TestNameConflictNamesTheHolder(t *testing.T) {
	c := realEngine(t)
	req := engine.CreateRequest{Name: name(t, "a"), Spec: api.ContainerSpec{Image: boxImage, NetworkMode: "none"}}
	holder := create(t, c, req)
	_, err := c.Create(t.Context(), req)
	failure, ok := errors.AsType[*engine.Error](err)
	if !errors.Is(err, engine.ErrConflict) || !ok || failure.Reason != api.ReasonNameConflict || !strings.Contains(err.Error(), holder) {
		t.Errorf("second create: %v", err)
	}
	req.Name = name(t, "b")
	other := create(t, c, req)
	if err := c.Rename(t.Context(), other, name(t, "a")); !errors.Is(err, engine.ErrConflict) || !strings.Contains(err.Error(), holder) {
		t.Errorf("rename to a name in use: %v", err)
	}
}

func TestCopyFiles(t *testing.T) {
	c := realEngine(t)
	id := create(t, c, engine.CreateRequest{Name: name(t, "a"), Spec: api.ContainerSpec{Image: boxImage, NetworkMode: "none"}})
	files := []api.File{
		{Target: "/run/secrets/a", Content: "alpha"},
		{Target: "/etc/b.conf", Content: "beta", Mode: 0o640, UID: 12, GID: 34},
	}
	for range 2 {
		if err := c.CopyFiles(t.Context(), id, files); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		"cat /run/secrets/a /etc/b.conf": "alphabeta",
		"stat /run/secrets/a":            "-r--r--r-- 0 0",
		"stat /etc/b.conf":               "-rw-r----- 12 34",
	} {
		result, err := c.Exec(t.Context(), engine.ExecRequest{ID: id, Command: append([]string{"/box"}, strings.Fields(command)...)})
		if err != nil || result.Output != want {
			t.Errorf("%s: %q, %v, want %q", command, result.Output, err, want)
		}
	}
}

func TestExecIsBoundByItsContext(t *testing.T) {
	c := realEngine(t)
	id := create(t, c, engine.CreateRequest{Name: name(t, "a"), Spec: api.ContainerSpec{Image: boxImage, NetworkMode: "none"}})
	if err := c.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	// The engine may take seconds before the command runs at all: longer until it did.
	for limit := 300 * time.Millisecond; ; limit *= 3 {
		result, err := endless(t, c, id, limit)
		if !errors.Is(err, engine.ErrTimeout) {
			t.Fatalf("endless exec: %+v, %v", result, err)
		}
		if strings.Contains(result.Output, "stubborn") {
			return
		}
		if limit > 20*time.Second {
			t.Fatalf("endless exec said nothing within %s: %+v", limit, result)
		}
	}
}

func endless(t *testing.T, c *engine.Client, id string, limit time.Duration) (engine.ExecResult, error) {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return c.Exec(ctx, engine.ExecRequest{ID: id, Command: []string{"/box", "stubborn"}})
}

func TestMeasureUpdateUnpauseRestart(t *testing.T) {
	c := realEngine(t)
	ctx := t.Context()
	id := create(t, c, engine.CreateRequest{Name: name(t, "a"), Spec: api.ContainerSpec{Image: boxImage, NetworkMode: "none"}})
	if err := c.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(ctx, engine.ExecRequest{ID: id, Command: []string{"/box", "write", "/etc/x", strings.Repeat("x", 5000)}}); err != nil {
		t.Fatal(err)
	}
	if size, err := c.MeasureContainer(ctx, id); err != nil || size < 5000 {
		t.Errorf("MeasureContainer: %d, %v", size, err)
	}
	if err := c.Update(ctx, engine.UpdateRequest{ID: id, Resources: api.Resources{Memory: 64 << 20, MemorySwap: 128 << 20}, Restart: api.RestartPolicy{Name: "unless-stopped"}}); err != nil {
		t.Fatal(err)
	}
	read := inspect(t, c, id)
	if read.Spec.Resources.Memory != 64<<20 || read.Spec.Restart.Name != "unless-stopped" {
		t.Errorf("after update: %+v %+v", read.Spec.Resources, read.Spec.Restart)
	}
	if err := c.Unpause(ctx, id); err != nil {
		t.Errorf("unpause of what runs: %v", err)
	}
	before := read.StartedAt
	if err := c.Restart(ctx, engine.StopRequest{ID: id}); err != nil {
		t.Fatal(err)
	}
	if read := inspect(t, c, id); !read.StartedAt.After(before) || read.State != api.StateRunning {
		t.Errorf("after restart: %s, started %s, before %s", read.State, read.StartedAt, before)
	}
}

func TestEventsTellOfAContainer(t *testing.T) {
	c := realEngine(t)
	since := time.Now()
	id := create(t, c, engine.CreateRequest{Name: name(t, "a"), Spec: api.ContainerSpec{Image: boxImage, NetworkMode: "none"}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	events, failed := c.Events(ctx, since)
	if err := c.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	var actions []string
	for event := range events {
		if event.Type == "container" && event.ID == id {
			actions = append(actions, event.Action)
			if event.Action == "start" {
				cancel()
			}
		}
	}
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("end of the stream: %v", err)
	}
	if _, more := <-failed; more {
		t.Error("a second error")
	}
	if diff := cmp.Diff([]string{"create", "start"}, actions); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
}
