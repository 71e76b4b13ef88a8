package fleet_test

import (
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestPlanFolder asks what a folder with another image for one node would do, before it is
// pushed: only that node has something to do, and nothing changes anywhere.
func TestPlanFolder(t *testing.T) {
	f := theFleet(t).base(t)
	before, head := f.running(t), f.karl.status(t).Head.Revision
	had := f.slices(t)
	f.karl.edit(t, edit{"nodes/c.yaml", "    - name: workers\n", "    - name: workers\n      variables: {IMAGE_TAG: sha-de00002}\n"})

	began := time.Now()
	diff := f.karl.ctl(t, 0, "diff", ".")
	t.Logf("ktrdrctl diff took %s and says:\n%s", since(began), diff)
	for _, want := range []string{`(?m)^\+      variables: \{IMAGE_TAG: sha-de00002\}$`, `(?m)^it would reach c$`} {
		if !regexp.MustCompile(want).MatchString(diff) {
			t.Errorf("the difference has no line %s", want)
		}
	}

	began = time.Now()
	plan := f.karl.ctl(t, 2, "plan", ".") // 2: there is something to do
	t.Logf("ktrdrctl plan took %s and says:\n%s", since(began), plan)
	said := map[string]string{}
	for _, part := range strings.Split("\n"+plan, "\nnode ")[1:] {
		name, text, _ := strings.Cut(part, "\n")
		said[name] = text
	}
	for name, stack := range map[string]string{"a": "core", "b": "workers", "gpu": "gpu"} {
		if strings.TrimSpace(said[name]) != "stack "+stack+": nothing to do" {
			t.Errorf("%s would do this:\n%s", name, said[name])
		}
	}
	for _, want := range []string{
		`(?m)^  stack workers: \d+ operations?$`,
		`image: ghcr\.io/kpiteira/ktrdr-backend:sha-de00001 \S+ -> ghcr\.io/kpiteira/ktrdr-backend:sha-de00002 \S+`,
		`(?m)stop-container backtest-worker-1: image changed`,
	} {
		if !regexp.MustCompile(want).MatchString(said["c"]) {
			t.Errorf("the plan of c has no %s", want)
		}
	}
	if len(said) != len(f.nodes) {
		t.Errorf("%d nodes are planned, not %d", len(said), len(f.nodes))
	}

	f.untouched(t, "plans", before)
	if now := f.running(t); len(now) != len(before) {
		t.Errorf("%d containers run, before %d", len(now), len(before))
	}
	if now := f.slices(t); !maps.EqualFunc(now, had, maps.Equal[map[string]string]) {
		t.Errorf("what nodes have of the controller changed from\n%v to\n%v", had, now)
	}
	if d := f.karl.status(t); d.Head.Revision != head || !d.settled(head) {
		t.Errorf("the head is %s, before %s; the fleet is settled: %t", d.Head.Revision, head, d.settled(head))
	}
}

// slices are the files that each node has of the controller, once it has tidied up.
func (f *fleet) slices(t *testing.T) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	for name, n := range f.nodes {
		trees := n.Path("/var/lib/ktrdr/source/controller/trees")
		eventually(t, name+" has one tree of the controller", func() bool {
			list, err := os.ReadDir(trees)
			return err == nil && len(list) == 1
		})
		files, err := contents(trees)
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 {
			t.Fatalf("%s has nothing of the controller", name)
		}
		all[name] = files
	}
	return all
}
