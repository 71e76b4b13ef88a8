package ctl

import (
	"fmt"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Reasons of a node in a fleet. docs/spec/conditions.md explains each with its fix.
const (
	ReasonUnreachable   api.Reason = "Unreachable"
	ReasonNotJoined     api.Reason = "NotJoined"
	ReasonNotDesired    api.Reason = "NotDesired"
	ReasonClockSkew     api.Reason = "ClockSkew"
	ReasonRolloutFailed api.Reason = "RolloutFailed"
)

// Phases of a rollout.
const (
	phaseRunning   = "running"
	phaseSucceeded = "succeeded"
	phaseFailed    = "failed"
	phaseReplaced  = "replaced"
)

// maxSkew is how far the controller's clock may be from this machine's, and so how old what
// it says may be, before it is worth a word.
const maxSkew = 2 * time.Minute

// doubt adds a warning when what a controller says is old, or a clock is wrong; now is this
// machine's.
func (d *document) doubt(now time.Time) {
	if d.Time.IsZero() || now.Sub(d.Time).Abs() <= maxSkew {
		return
	}
	d.Controller.Conditions = append(d.Controller.Conditions, api.Condition{
		Type: api.ConditionWarning, Status: true, Reason: ReasonClockSkew,
		Message: "its clock says " + d.Time.UTC().Format(time.RFC3339) + ", this machine's " + now.UTC().Format(time.RFC3339),
	})
}

// judge sets Converged, Reason and Message; now is by the clock of StatusAt.
func (n *nodeDoc) judge(now time.Time) {
	n.Converged, n.Message = false, ""
	switch {
	case !n.Desired:
		n.Reason, n.Message = ReasonNotDesired, "the desired state has no nodes/"+n.Name+".yaml"
	case !n.Joined:
		n.Reason, n.Message = ReasonNotJoined, "no agent has joined with this name"
	case !n.Connected:
		n.Reason, n.Message = ReasonUnreachable, "its agent is not connected; its containers run on"
		if !n.Seen.IsZero() {
			n.Message = "its agent was seen " + since(now, n.Seen) + " ago; its containers run on"
		}
	case n.Refused != nil && n.Refused.Status:
		n.Reason, n.Message = n.Refused.Reason, n.Refused.Message
	case n.Status == nil:
		n.Reason, n.Message = api.ReasonNotObserved, "its agent has not sent a status yet"
	case n.Target != "" && !n.Accepted:
		n.Reason, n.Message = api.ReasonProgressing, "it has not accepted revision "+short(n.Target)+" yet"
	default:
		n.judgeStatus()
	}
}

// judgeStatus takes the worst of what the agent says.
func (n *nodeDoc) judgeStatus() {
	st := n.Status
	switch code := statusCode(st); {
	case code == exitOK:
		n.Converged, n.Reason = true, api.ReasonConverged
		return
	case !st.Engine.Reachable:
		n.Reason, n.Message = api.ReasonEngineDown, "the engine does not answer"
		return
	case !st.Ready:
		n.Reason, n.Message = api.ReasonNotObserved, "the agent is not ready"
		return
	case code == exitBlocked:
		if c := firstCondition(st, isBlocked); c != nil {
			n.Reason, n.Message = c.Reason, c.Message
			return
		}
	}
	for i := range st.Stacks {
		if s := &st.Stacks[i]; !s.Converged {
			n.Reason, n.Message = s.Reason, s.Message
			return
		}
	}
	if c := firstCondition(st, isDegraded); c != nil {
		n.Reason, n.Message = c.Reason, c.Message
	}
}

func isDegraded(c api.Condition) bool { return c.Status && c.Type == api.ConditionDegraded }

func firstCondition(st *api.NodeStatus, is func(api.Condition) bool) *api.Condition {
	lists := [][]api.Condition{st.Conditions}
	for i := range st.Stacks {
		lists = append(lists, st.Stacks[i].Conditions)
	}
	for _, list := range lists {
		for i := range list {
			if is(list[i]) {
				return &list[i]
			}
		}
	}
	return nil
}

// code is the exit code that a node stands for.
func (n *nodeDoc) code() int {
	switch {
	case n.Converged, n.Reason == ReasonNotDesired:
		return exitOK
	case n.Connected && n.Refused != nil && n.Refused.Status:
		return exitBlocked
	case n.Connected && n.Status != nil:
		return max(exitPending, statusCode(n.Status))
	}
	return exitPending
}

// verdict is the exit code that a document stands for.
func (d *document) verdict() error {
	code := exitOK
	for i := range d.Nodes {
		code = max(code, d.Nodes[i].code())
	}
	if d.Controller != nil {
		for _, c := range d.Controller.Conditions {
			if isBlocked(c) {
				code = max(code, exitBlocked)
			} else if isDegraded(c) {
				code = max(code, exitPending)
			}
		}
	}
	if r := d.Rollout; r != nil {
		switch r.Phase {
		case phaseFailed:
			// What a failed rollout did not bring is as it was, so no node may show it.
			if !d.onlyUnreachable() {
				code = max(code, exitBlocked)
			}
			code = max(code, exitPending)
		case phaseRunning:
			code = max(code, exitPending)
		}
	}
	if code == exitOK {
		return nil
	}
	return exitCode(code)
}

// onlyUnreachable says that a rollout reached all nodes but those that were not there:
// nobody has to act, they follow.
func (d *document) onlyUnreachable() bool {
	away := 0
	for _, w := range d.Rollout.Waves {
		for _, n := range w.Nodes {
			switch n.Phase {
			case "unreachable":
				away++
			case "converged":
			default:
				return false
			}
		}
	}
	return away > 0
}

// narrow keeps one node, and one of its stacks. The rest of the fleet has no say then.
func (d *document) narrow(args []string) error {
	if len(args) == 0 {
		return nil
	}
	i := d.index(args[0])
	if i < 0 {
		return fmt.Errorf("there is no node %q; there is %s", args[0], listed(d.nodeNames()))
	}
	d.Nodes, d.Rollout = d.Nodes[i:i+1], nil
	if d.Controller != nil {
		d.Controller.Conditions = nil
	}
	if len(args) == 1 {
		return nil
	}
	n := &d.Nodes[0]
	if n.Status == nil {
		return fmt.Errorf("nothing is known of node %s yet", n.Name)
	}
	var names []string
	for j := range n.Status.Stacks {
		if names = append(names, n.Status.Stacks[j].Name); names[j] == args[1] {
			still := *n.Status
			still.Stacks = n.Status.Stacks[j : j+1]
			n.Status = &still
			n.judge(d.Time)
			return nil
		}
	}
	return fmt.Errorf("node %s has no stack %q; it has %s", n.Name, args[1], listed(names))
}

func (d *document) nodeNames() []string {
	return each(d.Nodes, func(n nodeDoc) string { return n.Name })
}
