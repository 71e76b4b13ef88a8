package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// idle looks at agents that have nothing to do on 50 containers: one that follows a folder,
// and one that has joined a controller.
func idle(ctx context.Context, b *bench) ([]row, error) {
	rows, err := b.idleAlone(ctx)
	b.engine.sweepAll(ctx)
	more, joined := b.idleJoined(ctx)
	return append(rows, more...), errors.Join(err, joined)
}

func (b *bench) idleAlone(ctx context.Context) ([]row, error) {
	services := serviceList(project("idle"), 50, 0)
	a, err := b.startAgent(ctx, services[0].project, composeFile(services))
	if err != nil {
		return nil, err
	}
	defer func() { _ = a.stop() }()
	if err := a.deployed(ctx); err != nil {
		return nil, err
	}
	return b.leaveAlone(ctx, a, "")
}

func (b *bench) idleJoined(ctx context.Context) ([]row, error) {
	c, err := b.newController(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := c.start(ctx); err != nil {
		return nil, err
	}
	defer func() { _ = c.stop() }()
	services := serviceList(project("joined"), 50, 0)
	if err := errors.Join(c.writeStack(services), c.clone(ctx)); err != nil {
		return nil, err
	}
	a, err := b.joinedAgent(ctx, c, services[0].project)
	if err != nil {
		return nil, err
	}
	defer func() { _ = a.stop() }()
	if err := c.push(ctx); err != nil {
		return nil, err
	}
	if _, err := a.await(ctx, converged); err != nil {
		return nil, err
	}
	return b.leaveAlone(ctx, a, ", joined to a controller")
}

// writeStack writes a repository with one node that runs all services.
func (c *controller) writeStack(services []service) error {
	return errors.Join(
		c.write("fleet.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Fleet\nmetadata: {name: bench}\nspec: {}\n"),
		c.write("nodes/"+nodeName+".yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: "+nodeName+"}\nspec:\n  stacks: [{name: app}]\n"),
		c.write("stacks/app/stack.yaml", "apiVersion: ktrdr.io/v1alpha1\nkind: Stack\nmetadata: {name: app}\nspec: {project: "+services[0].project+"}\n"),
		c.write("stacks/app/compose.yaml", composeFile(services)),
	)
}

// leaveAlone measures an agent that is converged. The engine's events meanwhile are counted:
// where others use the engine as well, the agent is not idle.
func (b *bench) leaveAlone(ctx context.Context, a *agent, how string) ([]row, error) {
	pid := a.cmd.Process.Pid
	b.say("idle: 50 containers run%s; waiting twice %s", how, b.idle)
	if err := pause(ctx, b.idle); err != nil {
		return nil, err
	}
	before, err := cpuTime(pid)
	if err != nil {
		return nil, err
	}
	w, err := b.engine.follow(ctx, map[string][]string{})
	if err != nil {
		return nil, err
	}
	defer w.stop()
	began := time.Now()
	if err := pause(ctx, b.idle); err != nil {
		return nil, err
	}
	strangers := len(w.events)
	after, err := cpuTime(pid)
	if err != nil {
		return nil, err
	}
	share := float64(after-before) / float64(time.Since(began)) * 100
	rows, err := memoryRows(pid, how)
	return append(rows, row{
		measure: "CPU with 50 containers, idle, of one core" + how, ours: fmt.Sprintf("%.3f %%", share),
		result: fmt.Sprintf("%.3f %%, %d events", share, strangers), target: "<= 0.1 %", met: share <= 0.1,
	}), err
}

func memoryRows(pid int, how string) ([]row, error) {
	status, err := kilobytes(pid, "status", "VmRSS:", "RssAnon:", "VmHWM:")
	if err != nil {
		return nil, err
	}
	rollup, err := kilobytes(pid, "smaps_rollup", "Pss:")
	if err != nil {
		return nil, err
	}
	resident := megabytes(status["VmRSS:"])
	return []row{
		{
			measure: "resident memory with 50 containers, idle" + how, ours: resident, result: resident,
			target: "<= 40 MB", met: status["VmRSS:"] <= 40*1024,
		},
		{measure: "  of which not of a file (the heap and the like)", ours: megabytes(status["RssAnon:"]), result: megabytes(status["RssAnon:"])},
		{measure: "  its share of what processes share (PSS)", ours: megabytes(rollup["Pss:"]), result: megabytes(rollup["Pss:"])},
		{measure: "  most since the start", ours: megabytes(status["VmHWM:"]), result: megabytes(status["VmHWM:"])},
	}, nil
}

func megabytes(kb int) string { return fmt.Sprintf("%.1f MB", float64(kb)/1024) }

// kilobytes reads fields of a file of a process.
func kilobytes(pid int, file string, fields ...string) (map[string]int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		if n, err := strconv.Atoi(words[1]); err == nil {
			found[words[0]] = n
		}
	}
	for _, field := range fields {
		if _, ok := found[field]; !ok {
			return nil, fmt.Errorf("/proc/%d/%s has no %s", pid, file, field)
		}
	}
	return found, nil
}

// tick is the unit of /proc/PID/stat, USER_HZ, which is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpuTime is the user and system time that a process has used.
func cpuTime(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// Fields are counted from the end of the name, which may hold spaces.
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, errors.New("stat of the agent is too short")
	}
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick, err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
