package fleet_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seedFlag = flag.Uint64("seed", 0, "of the faults in TestChaos; 0 for another one each time")                        //nolint:gochecknoglobals // a flag
	deckFlag = flag.Int("decks", 1, "of faults in TestChaos: in each, every process is killed and every link cut once") //nolint:gochecknoglobals // a flag
)

// faultPause is the longest pause between two faults.
const faultPause = 1500 * time.Millisecond

// chaosLimit is how long after the last fault all have converged at the latest. An engine
// takes ten seconds to end what does not heed a signal, an agent two to be started again and
// five to find its controller, a container that is watched ten to be looked at again; on a
// machine of two CPUs with a load of twenty, four nodes need 30 s for the rest.
const chaosLimit = 90 * time.Second

// TestChaos kills every process (controller, agents, engines) and cuts every link at random
// moments, under a stream of pushes of one operator and of scales of another one. What was
// accepted is in the history, in its order; no node ever has a file of another one, or one
// that the revision does not have; and all end on what was pushed last.
func TestChaos(t *testing.T) {
	f := theFleet(t).base(t)
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed %d", seed)
	c := &chaos{
		fleet: f, t: t, chance: rand.New(rand.NewPCG(seed, 1)), over: make(chan struct{}), //nolint:gosec // chance that can be repeated is what is wanted
		trees: map[string]*tree{},
	}
	var all sync.WaitGroup
	all.Go(func() {
		defer close(c.over)
		c.breakThings()
	})
	all.Go(c.push)
	all.Go(func() { c.scale(rand.New(rand.NewPCG(seed, 2))) }) //nolint:gosec // likewise
	all.Go(c.watchSlices)
	all.Wait()
	last := time.Now()
	t.Logf("faults: %s", strings.Join(c.faults, ", "))
	if c.freeEngines() {
		last = time.Now()
	}
	f.karl.await(t, "the controller is back", func(*document) bool { return true })
	f.karl.pull(t)
	if err := c.describe("the last word"); err != nil {
		t.Fatal(err)
	}
	revision := f.karl.commit(t, "the last word")
	f.karl.git(t, "push", "--quiet", "-o", "nowait", remote, "main")
	f.karl.settle(t, revision)
	took := since(last)
	t.Logf("all were converged %s after the last fault", took)
	if took > chaosLimit {
		t.Errorf("all were converged %s after the last fault, wanted within %s", took, chaosLimit)
	}
	c.look()
	c.nothingIsLost(revision)
	c.nothingIsWrong()
	c.allHave(revision)
	t.Logf("%d pushes and %d scales were accepted, %d tries were not; %d looks at slices", len(c.pushes), len(c.scales), c.refused, c.looks)
	if !c.proves() {
		t.Error("nothing was changed, or nothing was refused, under faults: this proves nothing")
	}
}

type chaos struct {
	*fleet
	t      *testing.T
	chance *rand.Rand
	faults []string
	over   chan struct{} // closed at the end
	// trees are what nodes were seen to have, by node and name of the tree.
	trees map[string]*tree

	// tries of pushes.
	tries atomic.Int64

	mu             sync.Mutex
	pushes, scales []string // revisions that were accepted, in this order
	refused, looks int
}

// fault is a unit whose process is killed, or a link that is cut.
type fault struct {
	unit string
	of   *node
}

const link = "link"

// deck are faults in random order: each process of each machine is killed, the one
// controller as often as there are other units, and each link is cut.
func (c *chaos) deck() []fault {
	var deck []fault
	for _, name := range nodeNames() {
		n := c.nodes[name]
		deck = append(deck, fault{"ktrdr-agent", n}, fault{"docker", n}, fault{link, n})
	}
	for range 3 {
		deck = append(deck, fault{"ktrdr-controller", c.controller})
	}
	c.chance.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	return deck
}

// breakThings breaks one thing after the other; on a slow machine until something was changed and
// something was refused meanwhile.
func (c *chaos) breakThings() {
	for i, began := 0, time.Now(); i < *deckFlag || !c.proves() && time.Since(began) < limit; i++ {
		for _, f := range c.deck() {
			c.pause(time.Duration(c.chance.Int64N(int64(faultPause))))
			c.faults = append(c.faults, f.unit+" of "+f.of.name)
			if f.unit == link {
				cut(f.of, c.chance.IntN(3))
				c.pause(time.Duration(c.chance.Int64N(int64(2 * time.Second))))
				mend(f.of)
				continue
			}
			if err := f.of.kill(f.unit); err != nil {
				c.t.Errorf("kill %s of %s: %v", f.unit, f.of.name, err)
			}
		}
	}
}

// proves tells whether something was changed, by both, and something was refused.
func (c *chaos) proves() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pushes) > 0 && len(c.scales) > 0 && c.refused > 0
}

// kill ends the main process of a unit, as soon as there is one: what was killed a moment
// ago may not be back yet. Debian's unit of the engine is given up when it is started more
// than three times in a minute, which is not what is tested.
func (n *node) kill(unit string) error {
	const script = `until systemctl reset-failed $0 && systemctl kill --kill-who=main --signal=KILL $0 2>/dev/null; do sleep 0.05; done`
	_, err := n.try("sh", "-c", script, unit)
	return err
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
		c.tries.Add(1)
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

// scale is olga, who scales by commands. Every other time she leaves karl a whole try: on a slow
// machine the head would move under each of his pushes.
func (c *chaos) scale(chance *rand.Rand) {
	for c.pause(0) {
		count := 1 + chance.IntN(3)
		a := c.olga.try("ktrdrctl", "scale", fmt.Sprintf("backtest=%d", count), "node=b", "--no-wait", "--quiet")
		c.note(a, strings.TrimSpace(a.out), &c.scales)
		c.pause(200 * time.Millisecond)
		if chance.IntN(2) == 0 {
			continue
		}
		last := c.tries.Load() + 2 // the one under way, and the next one
		for began := time.Now(); c.tries.Load() < last && time.Since(began) < 10*time.Second && c.pause(20*time.Millisecond); {
		}
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

// leftovers prints what an engine keeps for no container that runs: interfaces whose other
// end is in none, and ports.
const leftovers = `
running=$(docker ps --quiet)
peers=$(for pid in $(test -z "$running" || docker inspect --format '{{.State.Pid}}' $running); do nsenter --target $pid --net ip -oneline link; done | sed -n 's/.*@if\([0-9]*\):.*/\1/p')
for veth in /sys/class/net/veth*; do
	test ! -e $veth || echo "$peers" | grep --quiet --line-regexp "$(cat $veth/ifindex)" || echo "interface ${veth##*/}"
done
published=$(docker ps --format '{{.Ports}}')
pgrep --list-full docker-proxy | sed -n 's/.*-host-port \([0-9]*\) .*/\1/p' | sort --unique | while read port; do
	echo "$published" | grep --quiet ":$port->" || echo "port $port"
done`

// freeEngines restarts machines whose engine keeps something for nobody. One that is killed
// while it starts a container, or while it tidies up after it was killed, does that: ports
// stay allocated until its next start, and an interface answers, until the next boot, for
// the address that another container gets. Engine 20.10 does so: its own lists know nothing
// of what it keeps, and nothing that can be asked of it helps. Whether it is so is seen on
// the machine, not by what the agent says.
func (c *chaos) freeEngines() (restarted bool) {
	ctx, cancel := contextFor(limit)
	defer cancel()
	for _, name := range nodeNames() {
		n := c.nodes[name]
		kept := n.leftovers(c)
		if len(kept) == 0 {
			continue
		}
		c.t.Logf("the engine of %s keeps %s for nobody: the machine is restarted", name, strings.Join(kept, ", "))
		restarted = true
		if err := n.PowerLoss(ctx); err != nil {
			c.t.Fatal(err)
		}
		if err := n.PowerOn(ctx); err != nil {
			c.t.Fatal(err)
		}
	}
	return restarted
}

// leftovers are what stays for ten seconds; starts under way come to their end by then.
func (n *node) leftovers(c *chaos) []string {
	var kept []string
	for i := range 11 {
		out, err := n.try("sh", "-c", leftovers)
		if err != nil {
			c.t.Errorf("look at the engine of %s: %v", n.name, err)
			return nil
		}
		now := strings.Split(out, "\n")
		if i == 0 {
			kept = strings.FieldsFunc(out, func(r rune) bool { return r == '\n' })
		}
		kept = both(kept, now)
		if len(kept) == 0 {
			return nil
		}
		time.Sleep(time.Second)
	}
	return kept
}
