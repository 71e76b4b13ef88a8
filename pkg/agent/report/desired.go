package report

import (
	"log/slog"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Revision is one of the source.
type Revision struct {
	ID string
	// Time of it; zero when unknown.
	Time time.Time
}

// Accept notes that the desired state of a revision that the source has now is in force.
func (r *Report) Accept(d *api.Desired, rev Revision) {
	now := time.Now()
	r.mu.Lock()
	news := append(r.putDesired(d, rev.Time, now), r.putSource(rev.ID, now, nil)...)
	r.touch()
	r.mu.Unlock()
	r.metrics.SetDesired(d.Revision)
	r.metrics.DesiredConfirmed(now)
	r.events.add(news...)
}

// SetDesired notes the desired state that is in force. at is the time of its revision; zero
// when unknown. Mounts that it no longer requires are forgotten; stacks that it no longer
// has are forgotten once nothing of them is left to remove.
func (r *Report) SetDesired(d *api.Desired, at time.Time) {
	if d == nil {
		return
	}
	r.mu.Lock()
	news := r.putDesired(d, at, time.Now())
	r.touch()
	r.mu.Unlock()
	r.metrics.SetDesired(d.Revision)
	r.events.add(news...)
}

// putDesired returns the event that tells of a state that was not in force. The caller holds
// the lock.
func (r *Report) putDesired(d *api.Desired, at, now time.Time) []incident {
	changed := !r.desired.accepted || r.desired.revision != d.Revision
	since := r.desired.since
	if changed {
		since = now
	}
	r.desired = desiredState{
		accepted: true, revision: d.Revision, at: at, since: since,
		stacks: map[string]string{}, mounts: map[string]bool{},
	}
	for i := range d.Stacks {
		r.desired.stacks[d.Stacks[i].Name] = d.Stacks[i].Project
		for _, m := range d.Stacks[i].Mounts {
			r.desired.mounts[m.Path] = true
		}
	}
	for path := range r.mounts {
		if !r.desired.mounts[path] {
			delete(r.mounts, path)
			r.metrics.ForgetMount(path)
		}
	}
	if !changed {
		return nil
	}
	return []incident{{
		Event: api.Event{Level: levelInfo, Reason: api.ReasonProgressing, Message: "desired state accepted: revision " + d.Revision},
		text:  "desired state accepted", attrs: []slog.Attr{slog.String("revision", d.Revision)},
	}}
}

// SetSource notes the result of a look at the source at the time at. An empty revision
// means that none was seen this time; a nil condition that the state in force is confirmed.
func (r *Report) SetSource(revision string, at time.Time, c *api.Condition) {
	r.mu.Lock()
	news := r.putSource(revision, at, c)
	r.touch()
	r.mu.Unlock()
	if c == nil {
		r.metrics.DesiredConfirmed(at)
	} else {
		r.metrics.SourceError(string(c.Reason))
	}
	r.events.add(news...)
}

// putSource returns the event that tells of a condition that came, changed or went. The caller
// holds the lock.
func (r *Report) putSource(revision string, at time.Time, c *api.Condition) []incident {
	before, known := r.source.condition, r.source.revision
	if revision != "" {
		r.source.revision = revision
	}
	r.source.checkedAt = at
	if c == nil {
		r.source.confirmed = at
	}
	r.source.condition = withSince(c, before)
	if sameReason(before, c) && (c == nil || r.source.revision == known) {
		return nil
	}
	return []incident{conditionIncident("source", before, c, slog.String("revision", revision))}
}
