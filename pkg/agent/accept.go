package agent

import (
	"cmp"
	"context"
	"time"

	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/source"
)

// patience is how long the source may take for its first answer after a restart before
// the last good state is put in force: a moment's wait saves a repair by an old state.
const patience = 3 * time.Second

// fallBack puts the last good desired state in force, which needs no network, when the
// source brought none.
func (a *Agent) fallBack(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.follow.looked:
	case <-time.After(patience):
	}
	if a.desired.Load() != nil {
		return nil
	}
	d, err := a.store.LastGood()
	if err != nil {
		a.log.Warn("no last good state to resume from", "err", err)
	}
	if d == nil || d.Node != a.cfg.Node {
		return nil
	}
	if tree, ok := a.follow.src.Cached(d.Revision); ok {
		d.Root = tree.Dir
	}
	for i := range d.Stacks { // an earlier version of the agent kept none
		d.Stacks[i].Digest = cmp.Or(d.Stacks[i].Digest, d.Stacks[i].SumDigest())
	}
	a.accepting.Lock()
	defer a.accepting.Unlock()
	if a.desired.Load() != nil { // the source has answered meanwhile
		return nil
	}
	a.log.Info("resuming with the last good state", "revision", short(d.Revision))
	a.setDesired(ctx, d, func() { a.report.SetDesired(d, time.Time{}) })
	return nil
}

// accept puts a new valid state in force.
func (a *Agent) accept(ctx context.Context, d *api.Desired, rev source.Revision) {
	if err := a.store.SetLastGood(d); err != nil {
		a.log.Warn("the last good state is not on disk; a restart needs the source", "err", err)
		a.report.SetNodeCondition("last-good", &api.Condition{
			Type: api.ConditionDegraded, Status: true, Reason: api.ReasonDiskFull, Message: err.Error(),
		})
	} else {
		a.report.SetNodeCondition("last-good", nil)
	}
	if refs := a.secretRefs(a.withNeeded(d)); len(refs) > 0 {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		a.secretsLooked(refs, a.secrets.Refresh(ctx, refs))
		cancel()
	}
	a.accepting.Lock()
	a.setDesired(ctx, d, func() { a.report.Accept(d, report.Revision{ID: rev.ID, Time: rev.Time}) })
	a.accepting.Unlock()
	a.judged(rev, nil)
}

// setDesired puts a state in force. The caller holds a.accepting. All is told of it before anything is planned for it.
func (a *Agent) setDesired(ctx context.Context, d *api.Desired, tell func()) {
	a.forgetRollouts(d)
	needed := a.withNeeded(d)
	a.gate.SetDesired(ctx, needed)
	a.checkDelivery(needed)
	a.desired.Store(d)
	tell()
	ring(a.mounts.bell)
	ring(a.values.bell)
	ring(a.listed.bell)
	ring(a.backups.bell)
	a.loop.SetDesired(d)
}

// refused notes the result of a look at the source; nil means that all is well.
func (a *Agent) refused(rev source.Revision, c *api.Condition) {
	a.report.SetSource(rev.ID, time.Now(), c)
	a.judged(rev, c)
}

// judged tells the controller what became of a revision.
func (a *Agent) judged(rev source.Revision, c *api.Condition) {
	switch {
	case a.link == nil || rev.ID == "":
	case c == nil:
		a.link.Accepted(rev)
	default:
		a.link.Refused(rev, c.Reason, c.Message)
	}
}
