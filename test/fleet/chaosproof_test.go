package fleet_test

import (
	"crypto/sha1" //nolint:gosec // git names contents by it
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// both keeps what is in both lists.
func both(a, b []string) []string {
	return slices.DeleteFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

// nothingIsLost: what was accepted is in the history of the branch, in the order in which
// it was, and the head is the last push.
func (c *chaos) nothingIsLost(last string) {
	c.t.Helper()
	c.karl.pull(c.t)
	history := strings.Fields(c.karl.git(c.t, "log", "--first-parent", "--reverse", "--format=%H"))
	if head := history[len(history)-1]; head != last {
		c.t.Errorf("the head is %s, pushed was %s", head, last)
	}
	for _, accepted := range [][]string{c.pushes, c.scales} {
		before := -1
		for _, revision := range accepted {
			at := slices.Index(history, revision)
			if at < 0 {
				c.t.Errorf("revision %s was accepted and is not in the history", revision)
			} else if at <= before {
				c.t.Errorf("revision %s stands before one that was accepted earlier", revision)
			}
			before = max(before, at)
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

// tree is a slice that a node had on disk: the names that git gives the contents, by path.
type tree struct {
	node, revision string
	files          map[string]string
}

// nothingIsWrong: each file that a node ever had is the one of the revision that it had it
// for, and that revision is in the history.
func (c *chaos) nothingIsWrong() {
	c.t.Helper()
	history := strings.Fields(c.karl.git(c.t, "log", "--format=%H"))
	revisions := map[string]bool{}
	for _, tr := range c.trees {
		revisions[tr.revision] = true
		if !slices.Contains(history, tr.revision) {
			c.t.Errorf("%s had revision %s, which is not in the history", tr.node, tr.revision)
			continue
		}
		if tr.files["nodes/"+tr.node+".yaml"] == "" || tr.files["fleet.yaml"] == "" {
			c.t.Errorf("%s had revision %s without its own files: %v", tr.node, tr.revision, tr.files)
		}
		// "<mode> blob <name>\t<path>"
		listed := strings.Split(c.karl.git(c.t, "ls-tree", "-r", tr.revision), "\n")
		for path, name := range tr.files {
			if !slices.ContainsFunc(listed, func(line string) bool { return strings.HasSuffix(line, " "+name+"\t"+path) }) {
				c.t.Errorf("%s had %s of revision %s with another content", tr.node, path, tr.revision)
			}
		}
	}
	c.t.Logf("%d slices of %d revisions were looked at", len(c.trees), len(revisions))
	if len(revisions) < 2 {
		c.t.Error("no more than one revision was seen on nodes: this proves nothing")
	}
}

// allHave: by their own words and in fact, not by what the controller knows of them, all
// nodes have what the last revision says.
func (c *chaos) allHave(revision string) {
	c.t.Helper()
	for name, n := range c.nodes {
		st, err := n.status()
		if err != nil || st.Revision != revision || !n.converged() {
			c.t.Errorf("%s has revision %s, converged %t (%v); the last one is %s", name, st.Revision, n.converged(), err, revision)
		}
	}
	file, err := os.ReadFile(filepath.Join(c.karl.clone, "nodes/b.yaml"))
	if err != nil {
		c.t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^ +backtest: ([0-9]+)$`).FindSubmatch(file)
	if found == nil {
		c.t.Fatalf("nodes/b.yaml has no scale of backtest:\n%s", file)
	}
	var run []string
	for name := range c.running(c.t, "b") {
		if strings.HasPrefix(name, "b/backtest-worker-") {
			run = append(run, name)
		}
	}
	if want, _ := strconv.Atoi(string(found[1])); len(run) != want {
		c.t.Errorf("of %d backtest workers of b %v run", want, run)
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
		for range 10 {
			if known > 0 || len(foreign) > 0 {
				break
			}
			// A newer tree came, and the one that was listed went, during the look.
			foreign, known = n.foreign(stacksOf(name))
		}
		if len(foreign) > 0 {
			c.t.Errorf("%s has files that are not its own: %v", name, foreign)
		}
		if known == 0 {
			c.t.Errorf("%s has no file of its own: this proves nothing", name)
		}
		c.readTrees(n)
	}
}

// readTrees reads the slices of a node that are new since the last look. A record stands
// for a whole tree, from when that is written until before it is removed.
func (c *chaos) readTrees(n *node) {
	root := n.Path("/var/lib/ktrdr/source/controller")
	records, _ := filepath.Glob(root + "/records/*.json") // a fixed pattern
	for _, record := range records {
		name := strings.TrimSuffix(filepath.Base(record), ".json")
		key := n.name + " " + name
		if c.trees[key] != nil {
			continue
		}
		var rec struct {
			Revision struct{ ID string } `json:"revision"`
		}
		data, err := os.ReadFile(record) //nolint:gosec // a file of the node
		if err != nil || json.Unmarshal(data, &rec) != nil {
			continue // it is being written or removed
		}
		files, err := contents(filepath.Join(root, "trees", name))
		if _, gone := os.Stat(record); gone != nil || err != nil {
			continue // removed meanwhile
		}
		c.trees[key] = &tree{node: n.name, revision: rec.Revision.ID, files: files}
	}
}

// contents are the files of a folder, as git names them.
func contents(dir string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path) //nolint:gosec // a file of the node
		if err != nil {
			return err
		}
		sum := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(data), data)) //nolint:gosec // likewise
		relative, err := filepath.Rel(dir, path)
		files[relative] = hex.EncodeToString(sum[:])
		return err
	})
	return files, err
}
