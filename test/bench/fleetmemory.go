package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// resident is the memory of a process in bytes.
func resident(pid int) (int64, error) {
	lines, err := kilobytes(pid, "status", "VmRSS:")
	if err != nil {
		return 0, err
	}
	return int64(lines["VmRSS:"]) << 10, nil
}

// connected measures what agents cost that are connected and have nothing to do: no state
// is wanted of them yet.
func (b *bench) connected(ctx context.Context, c *controller, swarm string, without memoryFloor) ([]row, error) {
	const agents = 1000
	b.say("fleet: %d agents without a state", agents)
	w, err := c.gather(ctx, swarm, nodeNames(agents, "idle"))
	if err != nil {
		return nil, err
	}
	defer w.stop()
	if err := pause(ctx, settling); err != nil {
		return nil, err
	}
	rows, err := c.memoryRow(without, agents, row{measure: "memory of the controller for each of 1000 idle agents (mTLS)", target: "<= 100 kB"})
	if err != nil {
		return rows, err
	}
	again, err := b.again(ctx, c, w, agents)
	return append(rows, again...), err
}

// settling is how long a controller may take to give back what a burst of work took.
const settling = 20 * time.Second

// memoryFloor is what memory is compared with, in bytes.
type memoryFloor struct {
	alone  int64 // the controller without agents
	stream int64 // an idle stream of a server that does nothing else
}

// memoryRow fills a row with what each agent costs beyond the controller alone.
func (c *controller) memoryRow(without memoryFloor, agents int, r row) ([]row, error) {
	full, err := resident(c.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	each := (full - without.alone) / int64(agents)
	r.measure += fmt.Sprintf(" (%s, %s without agents)", bytesText(full), bytesText(without.alone))
	r.floor, r.ours, r.result, r.met = bytesText(without.stream), bytesText(each), bytesText(each), each <= 100_000
	return []row{r}, nil
}

func bytesText(n int64) string {
	if n >= 10_000_000 {
		return fmt.Sprintf("%.0f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f kB", float64(n)/1e3)
}

// idleFloor is what an idle connection with a client certificate and an open stream costs a
// server that does nothing else, in bytes: the benchmark of the wire package, in a process of
// its own.
func idleFloor(ctx context.Context) (int64, error) {
	out, err := exec.CommandContext(ctx, "go", "test", "-run=^$", "-bench=IdleConnections", "-benchtime=1x", "./pkg/wire").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("measure idle connections: %w\n%s", err, out)
	}
	found := regexp.MustCompile(`([0-9.]+) kB/conn`).FindSubmatch(out)
	if found == nil {
		return 0, errors.New("measure idle connections: the benchmark tells no kB/conn")
	}
	kib, err := strconv.ParseFloat(string(found[1]), 64)
	return int64(kib * 1024), err
}
