package fleet_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// told is how many lines each worker prints in TestLogsFollow, toldEvery how often.
const (
	told      = 300
	toldEvery = 40 * time.Millisecond
)

// TestLogsFollow follows the logs of two nodes while the controller is killed and the link of
// one of them is cut: each line comes once, in order, with the name of its node before it.
func TestLogsFollow(t *testing.T) {
	f := theFleet(t).base(t)
	b, c := f.nodes["b"], f.nodes["c"]
	path := filepath.Join(t.TempDir(), "logs")
	out, err := os.Create(path) //nolint:gosec // of the test
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	t.Cleanup(func() { mend(c) })
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	follow := f.karl.command(ctx, "ktrdrctl", "logs", "-f", "--tail", "0", "workers", "backtest-worker-1", "--node", "b", "--node", "c")
	follow.Stdout, follow.Stderr = out, os.Stderr
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stop(); _ = follow.Wait() }()
	tells := func(n *node, from, to int) {
		_, err := n.try("sh", "-c", fmt.Sprintf(`pid=$(docker inspect --format '{{.State.Pid}}' backtest-worker-1) && for i in $(seq %d %d); do echo "told $i" >/proc/$pid/fd/1 && sleep %.3f; done`,
			from, to, toldEvery.Seconds()))
		if err != nil {
			t.Errorf("print lines on %s: %v", n.name, err)
		}
	}
	lines := func() map[string][]int {
		text, err := os.ReadFile(path) //nolint:gosec // of the test
		if err != nil {
			t.Fatal(err)
		}
		all := map[string][]int{}
		for line := range strings.Lines(string(text)) {
			before, number, ok := strings.Cut(strings.TrimSpace(line), "told ")
			if !ok {
				continue
			}
			i, err := strconv.Atoi(number)
			if err != nil {
				t.Fatalf("the line %q", line)
			}
			name := before[:strings.IndexAny(before+" ", "/ ")]
			all[name] = append(all[name], i)
		}
		return all
	}
	// The first line shows that both are followed: what is printed before that is the past.
	for deadline := time.Now().Add(limit); len(lines()) < 2; <-time.After(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no line of both nodes: %v", lines())
		}
		tells(b, 0, 0)
		tells(c, 0, 0)
	}
	var g sync.WaitGroup
	for _, n := range []*node{b, c} {
		g.Go(func() { tells(n, 1, told) })
	}
	time.Sleep(2 * time.Second)
	if err := f.controller.kill("ktrdr-controller"); err != nil {
		t.Error(err)
	}
	time.Sleep(4 * time.Second)
	cut(c, bothWays)
	time.Sleep(2 * time.Second)
	mend(c)
	g.Wait()
	whole := func(list []int) bool { return len(list) > 0 && list[len(list)-1] == told }
	for deadline := time.Now().Add(limit); ; <-time.After(200 * time.Millisecond) {
		all := lines()
		if whole(all["b"]) && whole(all["c"]) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not all lines came: %v", all)
		}
	}
	for name, list := range lines() {
		next := 1
		for _, i := range list {
			if i == 0 {
				continue
			}
			if i != next {
				t.Errorf("%s: line %d came where %d was due: %v", name, i, next, list)
				break
			}
			next++
		}
	}
}
