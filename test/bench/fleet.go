package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// crowd is a swarm of simulated agents in a process of its own.
type crowd struct {
	cmd  *exec.Cmd
	news <-chan arrival
}

// arrival is one line of the swarm's output.
type arrival struct {
	Kind     string    `json:"kind"`
	Node     string    `json:"node"`
	Revision string    `json:"revision"`
	At       time.Time `json:"at"`
	Message  string    `json:"message"`
}

// fleet measures a controller with simulated agents: 1,000 that are connected only, then 100 and
// 1,000 that have something to do, each at a controller that knows of no other nodes.
func fleet(ctx context.Context, b *bench) ([]row, error) {
	swarm := filepath.Join(b.dir, "swarm")
	if err := goBuild(ctx, swarm, "./test/swarm"); err != nil {
		return nil, err
	}
	floor, err := idleFloor(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := b.alone(ctx, floor, func(c *controller, without memoryFloor) ([]row, error) {
		return b.connected(ctx, c, swarm, without)
	})
	if err != nil {
		return rows, err
	}
	for _, size := range []crowdSize{{agents: 100, limit: 250 * time.Millisecond}, {agents: 1000, limit: 1500 * time.Millisecond}} {
		b.say("fleet: %d agents", size.agents)
		more, err := b.alone(ctx, floor, func(c *controller, without memoryFloor) ([]row, error) {
			size.without = without
			return b.crowded(ctx, c, swarm, size)
		})
		if rows = append(rows, more[min(1, len(more)):]...); err != nil { // how long it takes to start is in the rows before
			return rows, err
		}
	}
	return rows, nil
}

// alone measures a new controller's start, and then something else of it.
func (b *bench) alone(ctx context.Context, stream int64, measure func(*controller, memoryFloor) ([]row, error)) ([]row, error) {
	c, err := b.newController(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := b.controllerStarts(ctx, c)
	if err != nil {
		return rows, err
	}
	defer func() { _ = c.stop() }()
	without := memoryFloor{stream: stream}
	if without.alone, err = resident(c.cmd.Process.Pid); err != nil {
		return rows, err
	}
	if err := c.clone(ctx); err != nil {
		return rows, err
	}
	more, err := measure(c, without)
	return append(rows, more...), err
}

// crowdSize is one measure of many agents.
type crowdSize struct {
	agents  int
	limit   time.Duration
	without memoryFloor
}

// controllerStarts measures starts with embedded etcd; the last one runs on.
func (b *bench) controllerStarts(ctx context.Context, c *controller) ([]row, error) {
	var took []time.Duration
	for i := range b.rounds {
		d, err := c.start(ctx)
		if err != nil {
			return nil, err
		}
		took = append(took, d)
		if i+1 < b.rounds {
			if err := c.stop(); err != nil {
				return nil, err
			}
		}
	}
	return []row{under(time.Second, median(took), "controller with embedded etcd, start to ready")}, nil
}

// under is a row whose result is a time.
func under(limit, took time.Duration, measure string) row {
	return row{measure: measure, ours: span(took), result: span(took), target: "<= " + span(limit), met: took <= limit}
}

// clone makes the working copy.
func (c *controller) clone(ctx context.Context) error {
	if err := os.MkdirAll(c.repo, 0o755); err != nil { //nolint:gosec // a repository
		return err
	}
	if _, err := c.git(ctx, "init", "--quiet", "--initial-branch=main"); err != nil {
		return err
	}
	if out, err := c.run(ctx, "git", "setup", c.repo); err != nil {
		return fmt.Errorf("git setup: %w: %s", err, out)
	}
	return nil
}

func nodeNames(agents int, kind string) []string {
	names := make([]string, agents)
	for i := range names {
		names[i] = fmt.Sprintf("%s%04d-%d", kind, i, agents)
	}
	return names
}

// crowded joins nodes, connects their agents, and pushes to them.
func (b *bench) crowded(ctx context.Context, c *controller, swarm string, size crowdSize) ([]row, error) {
	names := nodeNames(size.agents, "n")
	if err := c.writeFleet(names); err != nil {
		return nil, err
	}
	w, err := c.gather(ctx, swarm, names)
	if err != nil {
		return nil, err
	}
	defer w.stop()
	pushed, err := b.pushes(ctx, c, w, len(names))
	if err != nil {
		return nil, err
	}
	rows := []row{under(size.limit, worst(pushed, 99), fmt.Sprintf("push accepted to slice, %d agents, p99 of %d", size.agents, len(pushed)))}
	if size.agents < 1000 {
		return rows, nil
	}
	if err := pause(ctx, settling); err != nil {
		return rows, err
	}
	more, err := c.memoryRow(size.without, size.agents, row{measure: fmt.Sprintf("the same, %d agents with a slice and 20 services", size.agents), target: "<= 100 kB"})
	rows = append(rows, more...)
	if err != nil {
		return rows, err
	}
	shown, err := b.statusTimes(ctx, c, size.agents)
	return append(rows, shown...), err
}

// gather starts a swarm and waits until all are connected.
func (c *controller) gather(ctx context.Context, swarm string, names []string) (*crowd, error) {
	cmd := exec.Command(swarm, "--target", c.target) //nolint:gosec,noctx // our own program, ended by stop
	endWithUs(cmd)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	news := make(chan arrival, 4*len(names))
	go func() {
		defer close(news)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var a arrival
			if json.Unmarshal(lines.Bytes(), &a) == nil {
				news <- a
			}
		}
	}()
	w := &crowd{cmd: cmd, news: news}
	for _, name := range names {
		token, err := c.joinToken(ctx, name)
		if err == nil {
			_, err = fmt.Fprintf(in, "%s %s\n", name, token)
		}
		if err != nil {
			w.stop()
			return nil, err
		}
	}
	_ = in.Close()
	_, err = w.await(ctx, len(names), func(a arrival) bool { return a.Kind == "connected" })
	if err != nil {
		w.stop()
	}
	return w, err
}

func (w *crowd) stop() {
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	for range w.news { //nolint:revive // until the process has ended
	}
	_ = w.cmd.Wait()
}

// await returns the first arrival of each of n nodes that ok takes.
func (w *crowd) await(ctx context.Context, n int, ok func(arrival) bool) (map[string]time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	seen := map[string]time.Time{}
	var last string
	for len(seen) < n {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d agents: %w (%s)", len(seen), n, ctx.Err(), last)
		case a, open := <-w.news:
			if !open {
				return nil, errors.New("the swarm has ended")
			}
			if a.Message != "" {
				last = a.Node + ": " + a.Message
			}
			if _, again := seen[a.Node]; ok(a) && !again {
				seen[a.Node] = a.At
			}
		}
	}
	return seen, nil
}

// pushes changes what all nodes run, and returns for each node and push the time from the
// acceptance of the push to the complete slice.
func (b *bench) pushes(ctx context.Context, c *controller, w *crowd, agents int) ([]time.Duration, error) {
	conn, err := c.dial()
	if err != nil {
		return nil, err
	}
	api := ktrdrv1.NewFleetServiceClient(conn)
	var all []time.Duration
	for i := range b.rounds + 1 {
		if err := c.change(ctx, i); err != nil {
			return nil, err
		}
		began := time.Now()
		if _, err := c.git(ctx, "push", "--quiet", "-o", "nowait", "desired-state", "main"); err != nil {
			return nil, err
		}
		took := time.Since(began)
		fleet, err := api.GetFleet(ctx, &ktrdrv1.GetFleetRequest{Nodes: []string{fmt.Sprintf("n0000-%d", agents)}})
		if err != nil {
			return nil, err
		}
		head := fleet.GetHead()
		seen, err := w.await(ctx, agents, func(a arrival) bool { return a.Kind == "slice" && a.Revision == head.GetRevision() })
		if err != nil {
			return nil, err
		}
		b.say("fleet: push %d took %s in all", i, span(took))
		if i == 0 {
			continue // the first brings all files
		}
		for _, at := range seen {
			all = append(all, at.Sub(head.GetAccepted().AsTime()))
		}
	}
	return all, nil
}

// worst is the percentile of times.
func worst(times []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)]
}

// statusTimes measures the operator's first question.
func (b *bench) statusTimes(ctx context.Context, c *controller, agents int) ([]row, error) {
	var took []time.Duration
	for range b.rounds {
		began := time.Now()
		out, err := c.run(ctx, "status")
		var ended *exec.ExitError
		if err != nil && (!errors.As(err, &ended) || ended.ExitCode() > 3) {
			return nil, fmt.Errorf("status: %w", err)
		}
		took = append(took, time.Since(began))
		if n := strings.Count(string(out), fmt.Sprintf("-%d", agents)); n < agents {
			return nil, fmt.Errorf("status shows %d of %d nodes", n, agents)
		}
	}
	return []row{under(500*time.Millisecond, median(took), fmt.Sprintf("ktrdrctl status, %d nodes of 20 services", agents))}, nil
}
