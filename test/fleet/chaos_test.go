package fleet_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var seedFlag = flag.Uint64("seed", 0, "of the faults in TestChaos; 0 for another one each time") //nolint:gochecknoglobals // a flag

// Length of the chaos and the pauses in it.
const (
	chaosTime  = 20 * time.Second
	faultPause = 1500 * time.Millisecond
)

// TestChaos kills controller, agents and engines and cuts links at random moments, under a
// stream of pushes of one operator and of scales of another one. What was accepted is in the
// history, no node ever has a file of another one, and all end on what was pushed last.
func TestChaos(t *testing.T) {
	f := theFleet(t).base(t)
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", seed)
	c := &chaos{fleet: f, t: t, chance: rand.New(rand.NewPCG(seed, 1)), over: make(chan struct{})} //nolint:gosec // chance that can be repeated is what is wanted
	timer := time.AfterFunc(chaosTime, func() { close(c.over) })
	defer timer.Stop()
	var all sync.WaitGroup
	all.Go(c.breakThings)
	all.Go(c.push)
	all.Go(func() { c.scale(rand.New(rand.NewPCG(seed, 2))) }) //nolint:gosec // likewise
	all.Go(c.watchSlices)
	all.Wait()
	for _, n := range f.nodes {
		mend(n)
	}
	t.Logf("faults: %s", strings.Join(c.faults, ", "))
	f.karl.await(t, "the controller is back", func(*document) bool { return true })
	f.karl.pull(t)
	if err := c.describe("the last word"); err != nil {
		t.Fatal(err)
	}
	last := f.karl.commit(t, "the last word")
	f.karl.git(t, "push", "--quiet", "-o", "nowait", remote, "main")
	began := time.Now()
	f.karl.settle(t, last)
	t.Logf("all were converged %s after the last push", since(began))
	c.nothingIsLost(last)
	c.look()
	t.Logf("%d pushes and %d scales were accepted, %d tries were not; %d looks at slices", len(c.pushes), len(c.scales), c.refused, c.looks)
	if len(c.pushes) == 0 || len(c.scales) == 0 {
		t.Error("nothing was changed under faults: this proves nothing")
	}
}

type chaos struct {
	*fleet
	t      *testing.T
	chance *rand.Rand
	faults []string
	over   chan struct{} // closed at the end

	mu             sync.Mutex
	pushes, scales []string // revisions that were accepted
	refused, looks int
}

// breakThings breaks one thing after the other.
func (c *chaos) breakThings() {
	names := []string{"a", "b", "c", "gpu"}
	for c.pause(time.Duration(c.chance.Int64N(int64(faultPause)))) {
		n := c.nodes[names[c.chance.IntN(len(names))]]
		fault := [...]string{"controller", "agent", "dockerd", "link"}[c.chance.IntN(4)]
		c.faults = append(c.faults, fault+" "+n.name)
		var err error
		switch fault {
		case "controller":
			_, err = c.controller.try("systemctl", "kill", "--kill-who=all", "--signal=KILL", "ktrdr-controller")
		case "agent":
			_, err = n.try("systemctl", "kill", "--kill-who=all", "--signal=KILL", "ktrdr-agent")
		case "dockerd":
			_, err = n.try("systemctl", "kill", "--kill-who=main", "--signal=KILL", "docker")
		case "link":
			cut(n, c.chance.IntN(3))
			c.pause(time.Duration(c.chance.Int64N(int64(2 * time.Second))))
			mend(n)
		}
		if err != nil {
			c.t.Errorf("%s of %s: %v", fault, n.name, err)
		}
	}
}

// pause waits, and tells whether the chaos goes on.
func (c *chaos) pause(d time.Duration) (goesOn bool) {
	select {
	case <-c.over:
		return false
	case <-time.After(d):
		return true
	}
}

// push is karl, who edits a file and pushes, on top of what others did.
func (c *chaos) push() {
	for i := 0; c.pause(0); i++ {
		if c.karl.try("git", "fetch", "--quiet", remote).code != 0 || c.karl.try("git", "reset", "--quiet", "--hard", remote+"/main").code != 0 {
			c.pause(100 * time.Millisecond)
			continue
		}
		// All nodes get another slice by it, and no container changes.
		if err := c.describe(fmt.Sprintf("round %d", i)); err != nil {
			c.t.Error(err)
			return
		}
		revision := c.karl.commit(c.t, fmt.Sprintf("round %d", i))
		c.note(c.karl.try("git", "push", "-o", "nowait", remote, "main"), revision, &c.pushes)
	}
}

// describe changes one line of the file that all nodes have.
func (c *chaos) describe(text string) error {
	path := filepath.Join(c.karl.clone, "fleet.yaml")
	old, err := os.ReadFile(path) //nolint:gosec // a file of the test
	if err != nil {
		return err
	}
	lines := regexp.MustCompile(`(?m)^  description: .*$`)
	return os.WriteFile(path, lines.ReplaceAll(old, []byte("  description: "+text)), 0o644) //nolint:gosec // no secrets in it
}

// scale is olga, who scales by commands.
func (c *chaos) scale(chance *rand.Rand) {
	for c.pause(0) {
		count := 1 + chance.IntN(3)
		a := c.olga.try("ktrdrctl", "scale", fmt.Sprintf("backtest=%d", count), "node=b", "--no-wait", "--quiet")
		c.note(a, strings.TrimSpace(a.out), &c.scales)
		c.pause(200 * time.Millisecond)
	}
}

func (c *chaos) note(a answer, revision string, to *[]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case a.code != 0:
		c.refused++
	case revision != "": // a scale that changes nothing makes no commit
		*to = append(*to, revision)
	}
}

// nothingIsLost: what was accepted is in the history of the branch, once, and the head is
// the last push.
func (c *chaos) nothingIsLost(last string) {
	c.t.Helper()
	c.karl.pull(c.t)
	history := strings.Fields(c.karl.git(c.t, "log", "--first-parent", "--format=%H"))
	if history[0] != last {
		c.t.Errorf("the head is %s, pushed was %s", history[0], last)
	}
	for _, revision := range append(slices.Clone(c.pushes), c.scales...) {
		if !slices.Contains(history, revision) {
			c.t.Errorf("revision %s was accepted and is not in the history", revision)
		}
	}
	// Each commit changes its one place: none takes back what another one did.
	for line := range strings.Lines(c.karl.git(c.t, "log", "--first-parent", "--format=commit %s", "--numstat", c.baseRevision+"..HEAD")) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] != "commit" && (fields[0] != "1" || (fields[1] != "0" && fields[1] != "1")) {
			c.t.Errorf("a commit changes more than it should: %s", line)
		}
	}
}

// watchSlices looks all the time whether a node has what is not its own.
func (c *chaos) watchSlices() {
	for c.pause(100 * time.Millisecond) {
		c.look()
	}
}

// stacksOf are the stacks of each node.
func stacksOf(node string) string {
	return map[string]string{"a": "core", "b": "workers", "c": "workers", "gpu": "gpu"}[node]
}

func (c *chaos) look() {
	c.looks++
	for name, n := range c.nodes {
		foreign, known := n.foreign(stacksOf(name))
		if len(foreign) > 0 {
			c.t.Errorf("%s has files that are not its own: %v", name, foreign)
		}
		if known == 0 {
			c.t.Errorf("%s has no file of its own: this proves nothing", name)
		}
	}
}
