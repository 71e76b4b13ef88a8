package desired

import (
	"fmt"
	"path"
)

// restWave is the name of the wave of all nodes that no wave names.
const restWave = "rest"

// checkRollout checks what fleet.yaml says by itself: a node has no other node's file, so
// whether a name is one of a node is for Validate.
func (f *fleet) checkRollout() {
	rollout := f.Spec.Rollout
	if rollout.Timeout < 0 || rollout.Timeout == 0 && f.doc.has("spec.rollout.timeout") {
		f.doc.problem("spec.rollout.timeout", "must be positive; leave it out for 15m")
	}
	names := map[string]bool{}
	wave := map[string]string{}
	for i, w := range rollout.Waves {
		at := fmt.Sprintf("spec.rollout.waves[%d]", i)
		switch {
		case !f.doc.has(at + ".name"): // told already
		case !dnsLabel.MatchString(w.Name):
			f.doc.problem(at+".name", `must have lower case letters, digits and "-" only, at most 63`)
		case w.Name == restWave:
			f.doc.problem(at+".name", "%s is the wave of the nodes that no wave names: choose another name", restWave)
		case names[w.Name]:
			f.doc.problem(at+".name", "wave %s is there twice", w.Name)
		}
		names[w.Name] = true
		if len(w.Nodes) == 0 && f.doc.has(at+".nodes") {
			f.doc.problem(at+".nodes", "names no node: leave the wave out")
		}
		for j, node := range w.Nodes {
			if other, taken := wave[node]; taken {
				f.doc.problem(fmt.Sprintf("%s.nodes[%d]", at, j), "node %s is in wave %s already", node, other)
				continue
			}
			wave[node] = w.Name
		}
	}
}

// checkWaves refuses names in waves that are of no node.
func (v *validation) checkWaves(f *fleet) {
	for i, w := range f.Spec.Rollout.Waves {
		for j, node := range w.Nodes {
			if _, ok := v.nodes[node]; !ok && !v.tree.isFile(path.Join(nodesFolder, node+nodeSuffix)) {
				f.doc.problem(fmt.Sprintf("spec.rollout.waves[%d].nodes[%d]", i, j), "there is no node %s%s", node, didYouMean(node, keysOf(v.nodes)))
			}
		}
	}
}
