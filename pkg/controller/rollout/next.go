package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Step is something that Next did. Phase says what became of the node; of the wave when Node
// is empty; of the rollout when Wave is empty too.
type Step struct {
	Wave, Node string
	Phase      Phase
	Reason     api.Reason
	Message    string
}

// Decisive steps have to be kept before anybody acts on them; all others follow from what
// nodes say, and will be taken again.
func (s Step) Decisive() bool { return s.Node == "" || s.Phase == Sent || s.Phase == Failed }

// Next moves a rollout on. nodes holds what is known of each node by name; a node that is
// missing was away for ever. Without news it returns the record as it is. A record that has
// ended changes in one way only: a node that was cordoned and no longer is gets its target,
// unless the rollout was stopped.
func Next(r *Record, nodes map[string]Node, now time.Time) (Record, []Step) {
	if r.Over() {
		return *r, nil
	}
	s := &stepper{record: r.clone(), nodes: nodes, now: now}
	if r.Phase == Running {
		s.run()
	} else {
		s.release()
	}
	return s.record, s.steps
}

type stepper struct {
	record Record
	nodes  map[string]Node
	now    time.Time
	steps  []Step
}

func (s *stepper) tell(step Step) { s.steps = append(s.steps, step) }

// run goes through the waves in their order until one is not over.
func (s *stepper) run() {
	for i := range s.record.Waves {
		w := &s.record.Waves[i]
		if w.Phase == Waiting {
			w.Phase, w.Started = Running, s.now
			s.tell(Step{Wave: w.Name, Phase: Running})
		}
		s.advance(w)
		if failed := slices.IndexFunc(w.Nodes, func(p Progress) bool { return p.Phase == Failed }); failed >= 0 {
			p := w.Nodes[failed]
			s.stop(w, p.Reason, fmt.Sprintf("node %s: %s", p.Node, p.Message))
			return
		}
		if w.Phase == Succeeded {
			continue // nodes that came back late hold up the end, not the waves
		}
		if open := open(w); len(open) > 0 {
			if s.now.Sub(w.Started) >= s.record.Timeout {
				s.stop(w, ReasonTimeout, fmt.Sprintf("wave %s has not converged in %s: %s", w.Name, s.record.Timeout, strings.Join(open, "; ")))
			}
			return
		}
		w.Phase = Succeeded
		s.tell(Step{Wave: w.Name, Phase: Succeeded})
	}
	if !s.late() {
		s.finish()
	}
}

// late says that a node which came back after its wave was over is still at it. It has as
// long as the last wave.
func (s *stepper) late() bool {
	if len(s.record.Waves) == 0 {
		return false
	}
	last := s.record.Waves[len(s.record.Waves)-1].Started
	for i := range s.record.Waves {
		w := &s.record.Waves[i]
		behind := open(w)
		if len(behind) == 0 {
			continue
		}
		if s.now.Sub(last) >= s.record.Timeout {
			s.stop(w, ReasonTimeout, fmt.Sprintf("wave %s has not converged in time: %s", w.Name, strings.Join(behind, "; ")))
		}
		return true
	}
	return false
}

// advance sends the revision to nodes of a wave that has begun and judges those that have it.
func (s *stepper) advance(w *Wave) {
	for i := range w.Nodes {
		p := &w.Nodes[i]
		n := s.nodes[p.Node]
		next := *p
		switch p.Phase { //nolint:exhaustive // all others are judged
		case Converged, Failed:
			continue // what becomes of it later is not the rollout's
		case Waiting:
			if n.Cordoned {
				next.Reason, next.Message = ReasonCordoned, "cordoned; it keeps what it has until it is uncordoned"
				s.settle(w, p, next)
				continue
			}
			s.record.Targets[p.Node] = Target{Revision: s.record.Revision, Digest: p.Digest}
			next.Phase = Sent
			next.Reason, next.Message = "", ""
			if n.StatusDigest != p.Digest && faulty(n.Status) {
				next.Patience = s.now.Add(patience)
			}
			s.settle(w, p, next)
		}
		s.settle(w, p, s.judge(*p, n))
	}
}

// settle takes over what is new of a node, and tells of a new phase or reason.
func (s *stepper) settle(w *Wave, p *Progress, next Progress) {
	if p.Phase != next.Phase || p.Reason != next.Reason {
		s.tell(Step{Wave: w.Name, Node: p.Node, Phase: next.Phase, Reason: next.Reason, Message: next.Message})
	}
	*p = next
}

// open lists nodes that the wave waits for.
func open(w *Wave) []string {
	var out []string
	for _, p := range w.Nodes {
		switch {
		case p.Phase == Converged, p.Phase == Unreachable, p.Reason == ReasonCordoned, p.Reason == api.ReasonOnHold:
		default:
			out = append(out, strings.TrimSuffix(p.Node+" "+string(p.Phase)+": "+p.Message, ": "))
		}
	}
	return out
}

// stop ends the rollout as failed: later waves keep what they have.
func (s *stepper) stop(w *Wave, reason api.Reason, message string) {
	w.Phase = Failed
	s.tell(Step{Wave: w.Name, Phase: Failed, Reason: reason, Message: message})
	for i := range s.record.Waves {
		if later := &s.record.Waves[i]; later.Phase == Waiting {
			later.Phase = Skipped
			s.tell(Step{Wave: later.Name, Phase: Skipped})
		}
	}
	s.end(Failed, reason, message)
}

// finish ends a rollout whose waves are over. It is a success only when every node that was
// to get the revision runs it.
func (s *stepper) finish() {
	missing := map[api.Reason][]string{}
	for i := range s.record.Waves {
		for _, p := range s.record.Waves[i].Nodes {
			if p.Phase != Converged {
				missing[p.Reason] = append(missing[p.Reason], p.Node)
			}
		}
	}
	away, held, cordoned, absent := missing[ReasonUnreachable], missing[api.ReasonOnHold], missing[ReasonCordoned], missing[ReasonNotJoined]
	note, reason := "", api.Reason("")
	if len(cordoned) > 0 {
		note = "cordoned and left out: " + strings.Join(cordoned, ", ")
	}
	if len(absent) > 0 {
		note = strings.TrimPrefix(note+"; not joined, and to get the revision when they do: "+strings.Join(absent, ", "), "; ")
		reason = ReasonNotJoined
	}
	switch {
	case len(away) > 0:
		s.end(Failed, ReasonUnreachable, joined("not connected, and to get the revision on return: "+strings.Join(away, ", "), note))
	case len(held) > 0:
		s.end(Failed, api.ReasonOnHold, joined("on hold, and to get the revision when resumed: "+strings.Join(held, ", "), note))
	case len(s.record.Waves) == 0:
		s.end(Succeeded, ReasonUnchanged, "no node's files change")
	default:
		s.end(Succeeded, reason, note)
	}
}

func joined(a, b string) string { return strings.TrimSuffix(a+"; "+b, "; ") }

func (s *stepper) end(phase Phase, reason api.Reason, message string) {
	s.record.end(phase, reason, message, s.now)
	s.tell(Step{Phase: phase, Reason: reason, Message: message})
}

// release gives nodes that are no longer cordoned their target after the end.
func (s *stepper) release() {
	for i := range s.record.Waves {
		w := &s.record.Waves[i]
		for j := range w.Nodes {
			p := &w.Nodes[j]
			if p.Phase != Waiting || s.nodes[p.Node].Cordoned {
				continue
			}
			s.record.Targets[p.Node] = Target{Revision: s.record.Revision, Digest: p.Digest}
			next := *p
			next.Phase, next.Reason, next.Message = Sent, "", "uncordoned after the rollout's end"
			s.settle(w, p, next)
		}
	}
}
