package fleet_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// document is what the tests look at of `ktrdrctl status --output json`. docs/spec/status.md
// describes all of it.
type document struct {
	Fleet string
	Head  struct {
		Revision, Subject, Author, By, Outcome string
	}
	Rollout struct {
		Revision, Phase, Reason, Message string
		Waves                            []struct {
			Name, Phase string
			Nodes       []struct{ Node, Phase, Reason, Message string }
		}
	}
	Nodes []struct {
		Name, Hostname, Reason, Message, Version, Target string
		Connected, Converged, Joined, Desired, Accepted  bool
		Seen                                             time.Time       `json:"seenAt"`
		CertificateEnds                                  time.Time       `json:"certificateEndsAt"`
		Status                                           *api.NodeStatus `json:"status"`
	}
}

// settled tells whether all nodes but some have what the head says.
func (d *document) settled(revision string, but ...string) bool {
	if d.Head.Revision != revision || d.Rollout.Revision != revision || d.Rollout.Phase == "running" || len(d.Nodes) < len(hostnames) {
		return false
	}
	for _, n := range d.Nodes {
		if !slices.Contains(but, n.Name) && (!n.Converged || n.Status == nil || !n.Status.Engine.Reachable) {
			return false
		}
	}
	return true
}

// waves are phases of the newest rollout's waves and of the nodes in them, by name.
func (d *document) waves() (waves, nodes map[string]string) {
	waves, nodes = map[string]string{}, map[string]string{}
	for _, w := range d.Rollout.Waves {
		waves[w.Name] = w.Phase
		for _, n := range w.Nodes {
			nodes[n.Node] = n.Phase
		}
	}
	return waves, nodes
}

// await asks for the fleet until ok says so.
func (o *operator) await(t *testing.T, what string, ok func(*document) bool) document {
	t.Helper()
	var last document
	var failed error
	if !poll(t, func() bool {
		d, err := o.tryStatus()
		if failed = err; err == nil {
			last = d
		}
		return err == nil && ok(&last)
	}) {
		text, _ := json.MarshalIndent(last, "", " ")
		t.Fatalf("%s: not within %s (%v)\n%s", what, limit, failed, text)
	}
	return last
}

// settle waits until all nodes but some are converged on a revision.
func (o *operator) settle(t *testing.T, revision string, but ...string) document {
	t.Helper()
	return o.await(t, "all converged on "+revision[:7], func(d *document) bool { return d.settled(revision, but...) })
}

// index of a node in the document; the test ends when it is not there.
func (d *document) index(t *testing.T, name string) int {
	t.Helper()
	for i := range d.Nodes {
		if d.Nodes[i].Name == name {
			return i
		}
	}
	t.Fatalf("the fleet has no node %s", name)
	return -1
}
