package fleet

import (
	"cmp"
	"maps"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/rollout"
	"ktrdr.io/fleet/pkg/wire"
)

// news learns what is new of nodes, and returns what is closed when there is more. Between rollouts
// nodes are nothing to know, and nil is returned.
func (r *drive) news() <-chan struct{} {
	if r.entry.Number != 0 && !r.entry.Record.Over() {
		return r.learn()
	}
	if len(r.nodes) > 0 {
		r.nodes, r.seq = map[string]rollout.Node{}, 0
	}
	return nil
}

// learn takes over what is new of nodes.
func (r *drive) learn() <-chan struct{} {
	news := r.driver.Hub.News(r.seq)
	for _, n := range news.Nodes {
		r.nodes[n.Name] = known(n, r.driver.Hub.Started())
	}
	for _, name := range news.Gone {
		delete(r.nodes, name)
	}
	r.seq = news.Seq
	return news.Changed
}

// known are all nodes that count. One that was never heard of has not joined; shortly after the
// start the store may only not have told of it yet.
func (r *drive) known(names map[string]string) map[string]rollout.Node {
	started, grace := r.driver.Hub.Started(), cmp.Or(r.driver.Grace, rollout.DefaultGrace)
	unknown := rollout.Node{AwaySince: started, NeverJoined: time.Since(started) > grace}
	out := r.nodes
	for name := range names {
		if _, ok := r.nodes[name]; ok {
			continue
		}
		if len(out) == len(r.nodes) {
			out = maps.Clone(r.nodes)
		}
		out[name] = unknown
	}
	return out
}

func digestsOf(r *rollout.Record) map[string]string {
	out := map[string]string{}
	for i := range r.Waves {
		for _, p := range r.Waves[i].Nodes {
			out[p.Node] = p.Digest
		}
	}
	return out
}

// known is what counts of a node for a rollout.
func known(n hub.Node, started time.Time) rollout.Node {
	out := rollout.Node{Connected: n.Connected, AwaySince: n.Seen, Digest: n.Digest, Refused: n.Refused, StatusDigest: n.StatusDigest}
	if out.AwaySince.Before(started) {
		out.AwaySince = started // it may have been connected to the process before a moment ago
	}
	if n.Joined != nil {
		out.Cordoned = n.Joined.Cordoned != nil
	}
	switch {
	case n.Status == nil:
	case n.Status.Settled:
		// After a push a thousand nodes say so, and there is no more to learn from it.
		out.Status = settled(n.Status.Stacks)
	default:
		status := wire.NodeStatusFromProto(n.Status.Message())
		for i := range status.Stacks {
			// What runs as wanted is judged as a whole, and there are a thousand nodes of it.
			if s := &status.Stacks[i]; s.Converged {
				s.Services = nil
			}
		}
		out.Status = &status
	}
	return out
}

// settled is as much of a status as a rollout has to know when all stacks have converged for good.
func settled(stacks int) *api.NodeStatus {
	out := &api.NodeStatus{Ready: true, Stacks: make([]api.StackStatus, stacks)}
	for i := range out.Stacks {
		out.Stacks[i].Converged = true
	}
	return out
}
