package rollout

import (
	"fmt"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Node is what is known of a node when Next is asked.
type Node struct {
	// Connected to any controller.
	Connected bool
	// AwaySince is when a node that is not connected was seen last; while that is not known,
	// when whoever asks began to look.
	AwaySince time.Time
	Cordoned  bool
	// NeverJoined: no agent ever joined with the name, so there is nobody to wait for.
	NeverJoined bool
	// Digest of the slice that the node has accepted.
	Digest string
	// Refused is set when the node refused the slice with that digest.
	Refused *Refusal
	// Status is the newest; nil before the first. StatusDigest is the slice it is about.
	Status       *api.NodeStatus
	StatusDigest string
}

// Refusal is why a node did not take a slice.
type Refusal struct {
	Digest  string
	Reason  string
	Message string
}

// judge says how a node does with the slice that it was sent.
func (s *stepper) judge(p Progress, n Node) Progress {
	p.Reason, p.Message = "", ""
	refused := n.Refused != nil && n.Refused.Digest == p.Digest
	switch {
	case n.Digest == p.Digest && n.Status != nil && n.StatusDigest == p.Digest:
		p = judgeStatus(p, n, s.now)
	case refused:
		p.Phase, p.Reason = Failed, ReasonRefused
		p.Message = strings.TrimPrefix(n.Refused.Reason+": "+n.Refused.Message, ": ")
	case n.Digest == p.Digest:
		p.Phase, p.Message = Accepted, "no status about it yet"
	default:
		p.Phase = Sent
	}
	if n.NeverJoined {
		p.Phase, p.Reason = Unreachable, ReasonNotJoined
		p.Message = "no agent has joined with this name; it gets the revision when one does"
		return p
	}
	if !n.Connected && p.Phase != Failed && p.Phase != Converged && s.now.Sub(n.AwaySince) >= s.record.Grace {
		p.Phase, p.Reason = Unreachable, ReasonUnreachable
		p.Message = "not connected; it gets the revision when it comes back"
	}
	p.Message = cut(p.Message, maxMessage)
	return p
}

// judgeStatus: what an agent says about the slice that is in force counts, worst stack first.
func judgeStatus(p Progress, n Node, now time.Time) Progress {
	p.Phase, p.Converged, p.Stacks = Accepted, 0, len(n.Status.Stacks)
	since := p.Ailing
	p.Ailing = time.Time{}
	var waits, held, failed []string
	for i := range n.Status.Stacks {
		s := &n.Status.Stacks[i]
		f := stackFault(s)
		if f.verdict == graced && n.Connected && !now.Before(p.Patience) {
			if since.IsZero() {
				since = now
			}
			p.Ailing = since
			if now.Sub(since) >= FaultGrace {
				f.verdict = fatal
			}
		}
		switch {
		case f.verdict == fatal && now.Before(p.Patience):
			waits = append(waits, s.Name+": tried anew")
		case f.verdict == fatal:
			if len(failed) == 0 {
				p.Reason = f.reason
			}
			failed = append(failed, s.Name+": "+f.text)
		case f.verdict == graced:
			if p.Reason == "" {
				p.Reason = f.reason
			}
			waits = append(waits, s.Name+": "+f.text)
		case s.Converged && !updating(s):
			p.Converged++
		case s.Hold != nil && !s.Converged:
			held = append(held, s.Name+" is on hold")
		default:
			waits = append(waits, strings.TrimSuffix(s.Name+": "+waitsFor(s), ": "))
		}
	}
	switch {
	case len(failed) > 0:
		p.Phase, p.Message, p.Ailing = Failed, strings.Join(failed, "; "), time.Time{}
	case len(waits) > 0:
		p.Message = strings.Join(waits, "; ")
	case len(held) > 0:
		p.Reason, p.Message = api.ReasonOnHold, strings.Join(held, "; ")
	case !n.Status.Ready:
		p.Message = "the agent is not ready yet"
	default:
		p.Phase = Converged
	}
	return p
}

// Updating says of the phase of a stack's rollout that it may still be rolled back, however well
// it runs.
func Updating(phase string) bool { return phase == "updating" }

func updating(s *api.StackStatus) bool { return s.Rollout != nil && Updating(s.Rollout.Phase) }

func failure(f *api.FailedUpdate) string {
	verb := "was rolled back"
	if f.Action == api.FailurePause {
		verb = "is paused"
	}
	text := fmt.Sprintf("revision %s %s: %s", short(f.Revision), verb, strings.TrimPrefix(f.Service+": "+f.Message, ": "))
	if len(f.Log) > 0 {
		text += "; last line of " + f.Container + ": " + f.Log[len(f.Log)-1]
	}
	return text
}

func waitsFor(s *api.StackStatus) string {
	if s.Converged {
		return "watched until its monitor time is over"
	}
	if s.Message != "" {
		return s.Message
	}
	if len(s.Pending) > 0 {
		return s.Pending[0]
	}
	return string(s.Reason)
}

// cut bounds a message, at a whole character.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}
