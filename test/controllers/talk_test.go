package controllers_test

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"ktrdr.io/fleet/pkg/controller/agenttest"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

const (
	// linePause is between two lines of a talker, every eventPause-th of which comes with an event:
	// an outage must not last for more events than a controller keeps of a node.
	linePause  = 20 * time.Millisecond
	eventPause = 40
)

// talker is a node whose container prints numbered lines and whose agent tells numbered events,
// and who answers questions about the lines as a real agent does.
type talker struct {
	*agenttest.Agent

	mu     sync.Mutex
	lines  []*ktrdrv1.LogLine
	events int
	more   chan struct{} // closed at the next line
}

func newTalker(name string) *talker {
	k := &talker{Agent: &agenttest.Agent{Name: name, Commands: commands(name)}, more: make(chan struct{})}
	delete(k.Commands, "logs")
	k.Logs = k.logs
	return k
}

// talk goes on until the test or stop ends it.
func (k *talker) talk(t testing.TB) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var talking sync.WaitGroup
	talking.Go(func() {
		for ctx.Err() == nil {
			k.say()
			wait(ctx, linePause)
		}
	})
	stop = func() { cancel(); talking.Wait() }
	t.Cleanup(stop)
	return stop
}

func (k *talker) say() {
	k.mu.Lock()
	n := len(k.lines) + 1
	k.lines = append(k.lines, &ktrdrv1.LogLine{
		Stack: "workers", Service: "worker-1", Container: "worker-1", Time: timestamppb.Now(), Text: fmt.Sprint("told ", n),
	})
	tells := n%eventPause == 0
	if tells {
		k.events++
	}
	event := k.events
	close(k.more)
	k.more = make(chan struct{})
	k.mu.Unlock()
	if tells {
		k.Event(fmt.Sprint("told ", event))
	}
}

// said counts lines and events.
func (k *talker) said() (lines, events int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.lines), k.events
}

func (k *talker) logs(ctx context.Context, c *ktrdrv1.LogsCommand, send func(*ktrdrv1.CommandOutput)) {
	give := func(lines []*ktrdrv1.LogLine) {
		for batch := range slices.Chunk(lines, 50) {
			copied := make([]*ktrdrv1.LogLine, 0, len(batch))
			for _, l := range batch {
				copied = append(copied, &ktrdrv1.LogLine{Stack: l.GetStack(), Service: l.GetService(), Container: l.GetContainer(), Time: l.GetTime(), Text: l.GetText()})
			}
			send(&ktrdrv1.CommandOutput{Kind: &ktrdrv1.CommandOutput_Logs{Logs: &ktrdrv1.LogBatch{Lines: copied}}})
		}
	}
	k.mu.Lock()
	past, at, more := slices.Clone(k.lines), len(k.lines), k.more
	k.mu.Unlock()
	if since := c.GetSince(); since != nil {
		past = slices.DeleteFunc(past, func(l *ktrdrv1.LogLine) bool { return l.GetTime().AsTime().Before(since.AsTime()) })
	}
	if tail := int(c.GetTail()); tail >= 0 {
		past = past[max(0, len(past)-tail):]
	}
	give(past)
	for c.GetFollow() {
		select {
		case <-ctx.Done():
			return
		case <-more:
		}
		k.mu.Lock()
		fresh := k.lines[at:len(k.lines):len(k.lines)]
		at, more = len(k.lines), k.more
		k.mu.Unlock()
		give(fresh)
	}
}

// heard are the numbers that a follower was told, by node; kind is "lines" or "events".
func heard(p *process, kind string) map[string][]int {
	pattern := regexp.MustCompile(`^(\w+) worker-1 +\| told (\d+)$`)
	if kind == "events" {
		pattern = regexp.MustCompile(`^[-\d]+ [:\d]+ +info +Test +(\w+) core +told (\d+)$`)
	}
	all := map[string][]int{}
	for line := range strings.Lines(p.log.all()) {
		if m := pattern.FindStringSubmatch(strings.TrimRight(line, "\n")); m != nil {
			n, _ := strconv.Atoi(m[2]) //nolint:errcheck // digits
			all[m[1]] = append(all[m[1]], n)
		}
	}
	return all
}
