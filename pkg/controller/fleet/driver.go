package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/controller/hub"
	"ktrdr.io/fleet/pkg/controller/rollout"
	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/controller/store"
)

const (
	// election is won by the controller that drives rollouts.
	election = "rollouts"
	// tick is how often time alone is looked at; rest is the least time between two looks, so
	// that the statuses of many nodes are one look.
	tick = time.Second
	rest = 20 * time.Millisecond
	// keepProgress is the least time between two writes of what nodes say again anyway.
	keepProgress = 2 * time.Second
	// retry is the pause after a failure.
	retry = time.Second
)

// Driver starts a rollout for every new head and moves the newest one on, while this
// controller leads.
type Driver struct {
	Store   *store.Store
	Session *store.Session
	Hub     *hub.Hub
	Shelf   *slicing.Shelf
	Ledger  *Ledger
	// Grace of nodes that are away, before a wave goes on without them; 0: 30 s.
	Grace time.Duration
	// Leading is told when this controller begins and ends to lead, Ended of the phase in which
	// a rollout ended; nil for nobody.
	Leading func(leads bool)
	Ended   func(phase string)
	Log     *slog.Logger
}

// Run drives until ctx ends.
func (d *Driver) Run(ctx context.Context) error {
	err := d.Session.Lead(ctx, election, func(ctx context.Context) error {
		if d.Leading != nil {
			d.Leading(true)
			defer d.Leading(false)
		}
		for ctx.Err() == nil {
			if err := d.lead(ctx); err != nil && ctx.Err() == nil {
				d.Log.WarnContext(ctx, "rollout waits", "err", err)
				pause(ctx, retry)
			}
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end was asked for
	}
	return err
}

func pause(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// lead drives what the store has until something fails; the next call reads it anew.
func (d *Driver) lead(ctx context.Context) error {
	now, err := d.Store.CurrentRollout(ctx)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	run := &drive{driver: d, nodes: map[string]rollout.Node{}}
	if err == nil {
		if err := run.read(now); err != nil {
			return err
		}
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for ctx.Err() == nil {
		changed := d.Ledger.Changed()
		news := run.news()
		if err := run.step(ctx); errors.Is(err, errOvertaken) {
			return nil
		} else if err != nil {
			return err
		}
		pause(ctx, rest)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		case <-news:
		case <-changed:
		}
	}
	return nil
}

// errOvertaken: a call that tries a revision again has started a rollout of its own.
var errOvertaken = errors.New("another rollout was started")

// drive is one time of leadership.
type drive struct {
	driver *Driver
	entry  Entry // number 0 before the first rollout
	kept   rollout.Record
	keptAt time.Time
	nodes  map[string]rollout.Node
	seq    uint64
}

func (r *drive) read(stored store.Rollout) error {
	var record rollout.Record
	if err := json.Unmarshal(stored.Data, &record); err != nil {
		return fmt.Errorf("read rollout %d: %w", stored.Number, err)
	}
	r.entry = Entry{Number: stored.Number, Generation: stored.Generation, Record: record}
	r.kept = record
	return nil
}

// step starts a rollout when there is a new head, and moves the newest one on.
func (r *drive) step(ctx context.Context) error {
	d := r.driver
	if newest, ok := d.Ledger.Newest(); ok && newest.Number > r.entry.Number {
		return errOvertaken
	}
	now := time.Now()
	if head := d.Ledger.Head(); head.Revision != "" && head.Revision != r.entry.Record.Revision {
		// The ledger may be behind; what it takes for new may be older than what is rolled out.
		newest, err := d.Store.Head(ctx)
		if err != nil {
			return err
		}
		if newest.Revision != r.entry.Record.Revision {
			return r.begin(ctx, newest, now)
		}
	}
	if r.entry.Number == 0 {
		return nil
	}
	var steps []rollout.Step
	if !r.entry.Record.Over() {
		r.entry.Record, steps = rollout.Next(&r.entry.Record, r.known(digestsOf(&r.entry.Record)), now)
	}
	decisive := slices.ContainsFunc(steps, rollout.Step.Decisive)
	if decisive || now.Sub(r.keptAt) >= keepProgress {
		if err := r.keep(ctx, now); err != nil {
			return err
		}
	} else if len(steps) > 0 {
		d.Ledger.Show(r.entry)
	}
	d.tell(ctx, r.entry.Record.Revision, steps)
	return nil
}

// keep writes the record, if it differs from what is kept, before anybody sees it.
func (r *drive) keep(ctx context.Context, now time.Time) error {
	if reflect.DeepEqual(r.kept, r.entry.Record) {
		return nil
	}
	data, err := json.Marshal(r.entry.Record)
	if err != nil {
		return err
	}
	stored, err := r.driver.Store.UpdateRollout(ctx, r.entry.Number, r.entry.Generation, data)
	if err != nil {
		return err
	}
	r.entry.Generation, r.kept, r.keptAt = stored.Generation, r.entry.Record, now
	r.driver.Ledger.Show(r.entry)
	return nil
}

// begin starts the rollout of a head.
func (r *drive) begin(ctx context.Context, head store.Head, now time.Time) error {
	order, err := r.driver.order(ctx, head.Revision)
	if err != nil {
		return err
	}
	r.learn()
	entry, steps, err := r.driver.start(ctx, r.entry, order, r.known(order.Digests), now)
	if err != nil {
		return err
	}
	r.entry, r.kept, r.keptAt = entry, entry.Record, now
	r.driver.tell(ctx, head.Revision, steps)
	return nil
}

// order reads what a rollout of a revision needs.
func (d *Driver) order(ctx context.Context, revision string) (rollout.Order, error) {
	tree, err := d.Shelf.Tree(ctx, revision)
	if err != nil {
		return rollout.Order{}, err
	}
	spec, err := tree.Rollout(ctx)
	if err != nil {
		return rollout.Order{}, err
	}
	digests, err := tree.Digests(ctx)
	if err != nil {
		return rollout.Order{}, err
	}
	order := rollout.Order{Revision: revision, Spec: spec, Digests: digests, Grace: d.Grace}
	if head := d.Ledger.Head(); head.Revision == revision {
		order.By, order.Accepted = head.By, head.AcceptedAt
	}
	return order, nil
}

// start writes a new rollout after the one before, with its first steps taken.
func (d *Driver) start(ctx context.Context, before Entry, order rollout.Order, nodes map[string]rollout.Node, now time.Time) (Entry, []rollout.Step, error) {
	var earlier *rollout.Record
	if before.Number > 0 {
		earlier = &before.Record
	}
	begun, replaced := rollout.Begin(earlier, order, now)
	first, steps := rollout.Next(&begun, nodes, now)
	data, err := json.Marshal(first)
	if err != nil {
		return Entry{}, nil, err
	}
	stored, err := d.Store.StartRollout(ctx, before.Number, store.Rollout{Revision: order.Revision, StartedAt: now, Data: data})
	if err != nil {
		return Entry{}, nil, err
	}
	entry := Entry{Number: stored.Number, Generation: stored.Generation, Record: first}
	d.Ledger.Show(entry)
	if replaced != nil {
		d.replace(ctx, before, *replaced)
	}
	return entry, steps, nil
}

// replace notes that a rollout has ended without its end. A failure costs a line of history.
func (d *Driver) replace(ctx context.Context, before Entry, replaced rollout.Record) {
	data, err := json.Marshal(replaced)
	if err == nil {
		_, err = d.Store.UpdateRollout(ctx, before.Number, before.Generation, data)
	}
	if err != nil {
		d.Log.WarnContext(ctx, "replaced rollout is not noted", "number", before.Number, "err", err)
	}
}

// tell makes steps events of the controller.
func (d *Driver) tell(ctx context.Context, revision string, steps []rollout.Step) {
	for _, s := range steps {
		if s.Wave == "" && d.Ended != nil {
			d.Ended(string(s.Phase))
		}
		level, object := "info", s.Wave
		if s.Node != "" {
			object = s.Node
		}
		if s.Phase == rollout.Failed || s.Phase == rollout.Unreachable {
			level = "warn"
		}
		if s.Node != "" && (s.Phase == rollout.Sent || s.Phase == rollout.Accepted) {
			continue
		}
		text := "rollout of " + revision[:min(12, len(revision))]
		switch {
		case s.Node != "":
			text += ": node " + s.Node
		case s.Wave != "":
			text += ": wave " + s.Wave
		}
		text += " " + string(s.Phase)
		if s.Message != "" {
			text += ": " + s.Message
		}
		d.Hub.Tell(level, object, string(s.Reason), text)
		d.Log.InfoContext(ctx, "rollout", "revision", revision, "wave", s.Wave, "node", s.Node, "phase", s.Phase, "reason", s.Reason)
	}
}
