package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// shimmed names the contender that starts by ktrdr-exec.
const shimmed = "by ktrdr-exec"

// shim compares containers that begin with ktrdr-exec and read a secret with the same
// containers without: from the start to the end of a program that ends at once, and the
// most memory of one that serves.
func shim(ctx context.Context, b *bench) ([]row, error) {
	memory, err := os.MkdirTemp("/dev/shm", "ktrdr-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(memory) }()
	values := filepath.Join(memory, api.SecretsCurrent)
	program := filepath.Join(b.dir, "ktrdr-exec")
	err = errors.Join(
		os.Chmod(memory, 0o755), //nolint:gosec // no secrets in it
		os.Mkdir(values, 0o755), //nolint:gosec // no secrets in it
		os.WriteFile(filepath.Join(values, api.SecretFileName("op://b/e/nch")), []byte("value"), 0o444), //nolint:gosec // no secrets in it
		goBuild(ctx, program, "-trimpath", "-ldflags=-s -w", "./cmd/exec"),
		b.engine.createNetwork(ctx, floorProject),
	)
	if err != nil {
		return nil, err
	}
	plain, by := service{project: floorProject, name: "plain", guest: floorProject}.body(), shimBody(program, memory)
	once := *b
	once.rounds = 12 * b.rounds // each takes half a second only, and a few milliseconds are looked for
	s, err := once.turns(ctx, "start by ktrdr-exec",
		contender{name: raw, run: func(ctx context.Context) (time.Duration, error) { return b.runOnce(ctx, plain) }},
		contender{name: shimmed, run: func(ctx context.Context) (time.Duration, error) { return b.runOnce(ctx, by) }},
	)
	if err != nil {
		return nil, err
	}
	rows := []row{s.within(10*time.Millisecond, shimmed, raw, "start and end of a container by ktrdr-exec")}
	more, err := b.shimMemory(ctx, plain, by)
	return append(rows, more...), err
}

// shimBody is the create request of the same container with a secret.
func shimBody(program, values string) map[string]any {
	body := service{project: floorProject, name: "plain", guest: floorProject}.body()
	bind := func(source, target string) map[string]any {
		return map[string]any{"Type": "bind", "Source": source, "Target": target, "ReadOnly": true}
	}
	body["Entrypoint"] = []string{api.ExecTarget, "--", "/usr/bin/tini", "--"} // the image's own
	body["Env"] = []string{"SECRET=" + api.Placeholder("op://b/e/nch")}
	if host, ok := body["HostConfig"].(map[string]any); ok {
		host["Mounts"] = []any{bind(program, api.ExecTarget), bind(values, api.SecretsTarget)}
	}
	return body
}

// runOnce measures from the start of a program that ends at once to the event of its end.
func (b *bench) runOnce(ctx context.Context, body map[string]any) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	body = with(with(body, "Cmd", []string{"true"}), "HostConfig", without(body["HostConfig"], "RestartPolicy"))
	id, err := b.engine.make(ctx, body)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.engine.remove(ctx, id)) }()
	w, err := b.engine.watch(ctx, benchLabel, floorProject)
	if err != nil {
		return 0, err
	}
	defer w.stop()
	began := time.Now()
	if err := b.engine.start(ctx, id); err != nil {
		return 0, err
	}
	ended, err := w.await(ctx, "die", 1)
	return ended.Sub(began), err
}

// make creates a container from a request.
func (e *engine) make(ctx context.Context, body map[string]any) (string, error) {
	var made struct {
		ID string `json:"Id"`
	}
	err := e.call(ctx, http.MethodPost, "/containers/create?name="+url.QueryEscape(floorProject+"-shim"), body, &made)
	return made.ID, err
}

func with(body map[string]any, key string, value any) map[string]any {
	changed := map[string]any{key: value}
	for k, v := range body {
		if k != key {
			changed[k] = v
		}
	}
	return changed
}

func without(body any, key string) map[string]any {
	changed := map[string]any{}
	if from, ok := body.(map[string]any); ok {
		for k, v := range from {
			if k != key {
				changed[k] = v
			}
		}
	}
	return changed
}

// shimMemory compares the most memory that a serving container used up to then.
func (b *bench) shimMemory(ctx context.Context, plain, by map[string]any) ([]row, error) {
	var floors, ours, more []float64
	for range b.rounds {
		without, err := b.peak(ctx, plain)
		if err != nil {
			return nil, err
		}
		with, err := b.peak(ctx, by)
		if err != nil {
			return nil, err
		}
		floors, ours, more = append(floors, without), append(ours, with), append(more, with-without)
	}
	b.say("most memory, MB: %.2f, by ktrdr-exec %.2f", floors, ours)
	megabytes := func(list []float64) string { return fmt.Sprintf("%.1f MB", median(list)) }
	return []row{{
		measure: "  most memory of the container", floor: megabytes(floors), ours: megabytes(ours),
		result: fmt.Sprintf("%+.1f MB", median(more)), target: "<= +3 MB", met: median(more) <= 3,
	}}, nil
}

// peak starts a container and returns the most memory of its control group, in MB, once
// its program listens.
func (b *bench) peak(ctx context.Context, body map[string]any) (peak float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	id, err := b.engine.make(ctx, body)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, b.engine.remove(ctx, id)) }()
	if err := b.engine.start(ctx, id); err != nil {
		return 0, err
	}
	var c struct{ State struct{ Pid int } }
	if err := b.engine.call(ctx, http.MethodGet, "/containers/"+id+"/json", nil, &c); err != nil {
		return 0, err
	}
	for ctx.Err() == nil {
		// 1F90 is port 8080, 0A a socket that listens. Source: proc_net_tcp in the kernel's documentation.
		sockets := readAll(fmt.Sprintf("/proc/%d/net/tcp", c.State.Pid)) + readAll(fmt.Sprintf("/proc/%d/net/tcp6", c.State.Pid))
		if strings.Contains(sockets, ":1F90 ") {
			return mostMemory(c.State.Pid)
		}
	}
	return 0, fmt.Errorf("the container does not listen: %w", ctx.Err())
}

// mostMemory reads the peak of a process's control group, in MB.
func mostMemory(pid int) (float64, error) {
	for line := range strings.Lines(readAll(fmt.Sprintf("/proc/%d/cgroup", pid))) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		file := ""
		switch parts[1] {
		case "memory":
			file = filepath.Join("/sys/fs/cgroup/memory", parts[2], "memory.max_usage_in_bytes")
		case "":
			file = filepath.Join("/sys/fs/cgroup", parts[2], "memory.peak")
		}
		if bytes, err := strconv.ParseFloat(strings.TrimSpace(readAll(file)), 64); err == nil {
			return bytes / (1 << 20), nil
		}
	}
	return 0, errors.New("the kernel tells no peak of memory")
}

// readAll reads a small file of the kernel; what is not there is empty.
func readAll(path string) string {
	data, err := os.ReadFile(path) //nolint:gosec // below /proc and /sys
	if err != nil {
		return ""
	}
	return string(data)
}
