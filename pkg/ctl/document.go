package ctl

import (
	"cmp"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// each converts a list; an empty one becomes nil.
func each[From, To any](list []From, convert func(From) To) []To {
	if len(list) == 0 {
		return nil
	}
	out := make([]To, 0, len(list))
	for _, one := range list {
		out = append(out, convert(one))
	}
	return out
}

func nodeStatus(s *ktrdrv1.NodeStatus) *api.NodeStatus {
	if s == nil {
		return nil
	}
	st := wire.NodeStatusFromProto(s)
	return &st
}

// document is what `ktrdrctl status -o json` prints: the same of a fleet and of a single
// agent. docs/spec/status.md describes it; a test keeps its fields.
type document struct {
	// Fleet is the fleet's name; empty of a single agent, as are Controller, Head and Rollout.
	Fleet string `json:"fleet,omitzero"`
	// Time is when it was put together, by the clock of who answered.
	Time       time.Time      `json:"time"`
	Controller *controllerDoc `json:"controller,omitzero"`
	Head       *commitDoc     `json:"head,omitzero"`
	Rollout    *rolloutDoc    `json:"rollout,omitzero"`
	// Nodes are sorted by name.
	Nodes []nodeDoc `json:"nodes"`
}

type controllerDoc struct {
	Address    string          `json:"address"`
	Version    string          `json:"version"`
	Conditions []api.Condition `json:"conditions,omitzero"`
}

type commitDoc struct {
	Revision string    `json:"revision"`
	Subject  string    `json:"subject,omitzero"`
	Author   string    `json:"author,omitzero"`
	Time     time.Time `json:"time,omitzero"`
	By       string    `json:"by,omitzero"`
	Accepted time.Time `json:"acceptedAt,omitzero"`
	Outcome  string    `json:"outcome,omitzero"`
	Message  string    `json:"message,omitzero"`
}

type rolloutDoc struct {
	Revision string    `json:"revision"`
	Phase    string    `json:"phase"`
	Reason   string    `json:"reason,omitzero"`
	Message  string    `json:"message,omitzero"`
	Started  time.Time `json:"startedAt,omitzero"`
	Ended    time.Time `json:"endedAt,omitzero"`
	Waves    []waveDoc `json:"waves"`
}

type waveDoc struct {
	Name  string        `json:"name"`
	Phase string        `json:"phase"`
	Nodes []progressDoc `json:"nodes"`
}

type progressDoc struct {
	Node      string `json:"node"`
	Phase     string `json:"phase"`
	Reason    string `json:"reason,omitzero"`
	Message   string `json:"message,omitzero"`
	Converged int32  `json:"convergedStacks"`
	Stacks    int32  `json:"stacks"`
}

// nodeDoc is one node as the controller knows it, with what its agent said last.
type nodeDoc struct {
	Name      string `json:"name"`
	Hostname  string `json:"hostname,omitzero"`
	Connected bool   `json:"connected"`
	// Converged is true when the node is connected, has what it is to have, and all its
	// stacks are converged.
	Converged bool       `json:"converged"`
	Reason    api.Reason `json:"reason"`
	Message   string     `json:"message,omitzero"`
	// Seen and StatusAt are by the controller's clock.
	Seen            time.Time       `json:"seenAt,omitzero"`
	StatusAt        time.Time       `json:"statusAt,omitzero"`
	Address         string          `json:"address,omitzero"`
	Version         string          `json:"version,omitzero"`
	Cordon          *cordonDoc      `json:"cordon,omitzero"`
	Target          string          `json:"target,omitzero"`
	Accepted        bool            `json:"accepted"`
	Refused         *api.Condition  `json:"refused,omitzero"`
	Joined          bool            `json:"joined"`
	Desired         bool            `json:"desired"`
	CertificateEnds time.Time       `json:"certificateEndsAt,omitzero"`
	Status          *api.NodeStatus `json:"status,omitzero"`
	// pools are the names of its pools, for completion.
	pools []string
}

type cordonDoc struct {
	By  string    `json:"by"`
	Why string    `json:"why"`
	At  time.Time `json:"at"`
}

// ofAgent is the document of a single agent.
func ofAgent(st *api.NodeStatus) *document {
	n := nodeDoc{
		Name: st.Node, Connected: true, Accepted: true, Joined: true, Desired: true,
		Seen: st.Time, StatusAt: st.Time, Version: st.Version, Status: st,
	}
	n.judge(st.Time)
	return &document{Time: st.Time, Nodes: []nodeDoc{n}}
}

// ofFleet is the document of a fleet.
func ofFleet(f *ktrdrv1.Fleet, address string) *document {
	d := &document{
		Fleet: f.GetName(), Time: wire.Time(f.GetTime()), Head: toCommit(f.GetHead()), Rollout: toRollout(f.GetRollout()), Nodes: []nodeDoc{},
		Controller: &controllerDoc{Address: address, Version: f.GetVersion(), Conditions: each(f.GetConditions(), wire.ConditionFromProto)},
	}
	d.add(f.GetNodes())
	d.sort()
	return d
}

// add takes nodes that are not known yet, without sorting.
func (d *document) add(nodes []*ktrdrv1.Node) {
	for _, n := range nodes {
		d.Nodes = append(d.Nodes, toNode(n, d.Time))
	}
}

func (d *document) sort() {
	slices.SortFunc(d.Nodes, func(a, b nodeDoc) int { return cmp.Compare(a.Name, b.Name) })
}

// update applies what WatchFleet says; now is the controller's time.
func (d *document) update(u *ktrdrv1.FleetUpdate, now time.Time) {
	d.Time = now
	for _, n := range u.GetNodes() {
		node := toNode(n, now)
		if i := d.index(node.Name); i >= 0 {
			d.Nodes[i] = node
		} else {
			d.Nodes = append(d.Nodes, node)
		}
	}
	d.Nodes = slices.DeleteFunc(d.Nodes, func(n nodeDoc) bool { return slices.Contains(u.GetRemoved(), n.Name) })
	if u.GetHead() != nil {
		d.Head = toCommit(u.GetHead())
	}
	if u.GetRollout() != nil {
		d.Rollout = toRollout(u.GetRollout())
	}
	d.sort()
}

func (d *document) index(name string) int {
	return slices.IndexFunc(d.Nodes, func(n nodeDoc) bool { return n.Name == name })
}

func toCommit(c *ktrdrv1.Commit) *commitDoc {
	if c == nil {
		return nil
	}
	return &commitDoc{
		Revision: c.GetRevision(), Subject: c.GetSubject(), Author: c.GetAuthor(), Time: wire.Time(c.GetTime()), By: c.GetBy(),
		Accepted: wire.Time(c.GetAccepted()), Outcome: c.GetOutcome(), Message: c.GetMessage(),
	}
}

func toRollout(r *ktrdrv1.Rollout) *rolloutDoc {
	if r == nil {
		return nil
	}
	out := &rolloutDoc{
		Revision: r.GetRevision(), Phase: r.GetPhase(), Reason: r.GetReason(), Message: r.GetMessage(), Started: wire.Time(r.GetStarted()), Ended: wire.Time(r.GetEnded()),
		Waves: []waveDoc{},
	}
	for _, w := range r.GetWaves() {
		wave := waveDoc{Name: w.GetName(), Phase: w.GetPhase(), Nodes: []progressDoc{}}
		for _, n := range w.GetNodes() {
			wave.Nodes = append(wave.Nodes, progressDoc{
				Node: n.GetNode(), Phase: n.GetPhase(), Reason: n.GetReason(), Message: n.GetMessage(), Converged: n.GetConverged(), Stacks: n.GetStacks(),
			})
		}
		out.Waves = append(out.Waves, wave)
	}
	return out
}

func toNode(n *ktrdrv1.Node, now time.Time) nodeDoc {
	d := nodeDoc{
		Name: n.GetName(), Hostname: n.GetHostname(), Connected: n.GetConnected(), Seen: wire.Time(n.GetSeen()), StatusAt: wire.Time(n.GetStatusAt()),
		Address: n.GetAddress(), Version: n.GetVersion(), Target: n.GetTarget(), Accepted: n.GetAccepted(), Joined: n.GetJoined(), Desired: n.GetDesired(),
		CertificateEnds: wire.Time(n.GetCertificateEnds()), Status: nodeStatus(n.GetStatus()),
	}
	for _, p := range n.GetPools() {
		d.pools = append(d.pools, p.GetPool())
	}
	if c := n.GetCordon(); c != nil {
		d.Cordon = &cordonDoc{By: c.GetBy(), Why: c.GetWhy(), At: wire.Time(c.GetAt())}
	}
	if n.GetRefused() != nil {
		refused := wire.ConditionFromProto(n.GetRefused())
		d.Refused = &refused
	}
	d.judge(now)
	return d
}
