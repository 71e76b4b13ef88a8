package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/ctl/internal/remote"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// watchInterval is the time between two looks at an agent, and the least time between two
// pictures of a fleet.
const watchInterval = time.Second

// feed brings documents. The first call of next returns at once, the others when something
// may have changed. After an error that isAway, it may be called again.
type feed interface {
	next(ctx context.Context) (*document, error)
}

// isAway says that nobody answers: that passes.
func isAway(err error) bool {
	_, agent := errors.AsType[*unreachableError](err)
	_, controller := errors.AsType[*remote.UnreachableError](err)
	return agent || controller
}

// agentFeed looks at an agent again and again.
type agentFeed struct {
	client *client
	looked bool
}

func (f *agentFeed) next(ctx context.Context) (*document, error) {
	if f.looked {
		pause(ctx, watchInterval)
	}
	f.looked = true
	st, err := f.client.status(ctx)
	if err != nil {
		return nil, err
	}
	return ofAgent(st), nil
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// fleetFeed keeps a document by what WatchFleet sends.
type fleetFeed struct {
	controller *controller
	updates    chan *ktrdrv1.FleetUpdate
	failed     chan error
	known      *document
	more       bool // of the same moment is to come
	received   time.Time
}

func newFleetFeed(c *controller) *fleetFeed { return &fleetFeed{controller: c} }

func (f *fleetFeed) next(ctx context.Context) (*document, error) {
	if f.updates == nil {
		if f.failed != nil {
			pause(ctx, lostPause)
		}
		f.open(ctx)
	} else if !f.more {
		pause(ctx, watchInterval/5) // what comes together is shown together
	}
	select {
	case u := <-f.updates:
		f.apply(u)
	case err := <-f.failed:
		f.updates = nil
		if tooLarge(err) {
			return f.controller.document(ctx) // by an earlier controller, in one message: look again and again
		}
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for more := true; more; {
		if f.more {
			return f.next(ctx)
		}
		select {
		case u := <-f.updates:
			f.apply(u)
		default:
			more = false
		}
	}
	return f.known, nil
}

// open starts the stream; its goroutine ends with ctx or with the stream.
func (f *fleetFeed) open(ctx context.Context) {
	updates, failed := make(chan *ktrdrv1.FleetUpdate), make(chan error, 1)
	f.updates, f.failed, f.more = updates, failed, false
	go func() {
		failed <- f.controller.Explain(ctx, receive(ctx, f.controller, updates))
	}()
}

func receive(ctx context.Context, c *controller, updates chan<- *ktrdrv1.FleetUpdate) error {
	stream, err := c.Fleet.WatchFleet(ctx, &ktrdrv1.GetFleetRequest{}, remote.Large())
	for err == nil {
		var u *ktrdrv1.FleetUpdate
		if u, err = stream.Recv(); err == nil {
			select {
			case updates <- u:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	if errors.Is(err, io.EOF) {
		return &remote.UnreachableError{Address: c.Address(), Why: "it ended the connection", Fix: "It may be restarting."}
	}
	return err
}

func (f *fleetFeed) apply(u *ktrdrv1.FleetUpdate) {
	f.more = u.GetMore()
	if u.GetFleet() != nil || f.known == nil {
		f.known, f.received = ofFleet(u.GetFleet(), f.controller.Address()), time.Now()
		return
	}
	// Time by the controller's clock, wherever that of this machine stands.
	now := f.known.Time.Add(time.Since(f.received))
	f.received = time.Now()
	f.known.update(u, now)
}

// watch shows what a feed brings until ctx ends, which is a clean end: painted over and
// over on a terminal, one line for each change elsewhere.
func (s *session) watch(cmd *cobra.Command, f feed, args []string, v view) error {
	ctx := cmd.Context()
	var d display = &lineDisplay{view: v}
	switch {
	case v.format == formatJSON:
		d = &jsonDisplay{out: v.out, notes: cmd.ErrOrStderr()}
	case v.format == formatYAML:
		return errors.New("--watch: write -o json for programs; each change is one line")
	case isTerminal(v.out):
		d = newScreen(v)
	}
	defer d.close()
	shown := false
	for {
		doc, err := f.next(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the user ended it
		}
		if err == nil {
			narrowed := *doc
			if err = narrowed.narrow(args); err == nil {
				err = d.show(&narrowed)
				shown = true
			}
		} else if isAway(err) && shown {
			err = d.away(err)
		}
		if err != nil {
			return err
		}
	}
}

// display shows documents one after the other.
type display interface {
	show(d *document) error
	away(err error) error
	close()
}

// lineDisplay prints the first document as a whole and then what changes.
type lineDisplay struct {
	view
	last map[string]string
	lost bool
}

func (l *lineDisplay) show(d *document) error {
	now := d.states()
	if l.last == nil {
		l.last = now
		return l.document(d)
	}
	if l.lost {
		l.lost = false
		if _, err := lipgloss.Fprintln(l.out, dim(d.Time.Local().Format(time.DateTime)), "", "there is an answer again"); err != nil {
			return err
		}
	}
	keys := slices.Sorted(maps.Keys(now))
	for key := range l.last {
		if _, ok := now[key]; !ok {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		was, is := l.last[key], now[key]
		if was == is {
			continue
		}
		if is == "" {
			is = "gone"
		}
		if _, err := lipgloss.Fprintln(l.out, dim(d.Time.Local().Format(time.DateTime)), "", key, "", is); err != nil {
			return err
		}
	}
	l.last = now
	return nil
}

func (l *lineDisplay) away(err error) error {
	if l.lost {
		return nil
	}
	l.lost = true
	return l.line(err.Error())
}

func (l *lineDisplay) close() {}

// states are one text for each thing that a line tells about.
func (d *document) states() map[string]string {
	out := map[string]string{}
	if d.Rollout != nil {
		out["rollout "+short(d.Rollout.Revision)] = rolloutPhase(d.Rollout.Phase) + " " + oneLine(d.Rollout.Message)
	}
	for i := range d.Nodes {
		n := &d.Nodes[i]
		out["node "+oneLine(n.Name)] = reasonText(n.Reason) + " " + oneLine(n.Message)
		if n.Status == nil || !n.Connected {
			continue
		}
		for j := range n.Status.Stacks {
			stack := &n.Status.Stacks[j]
			for k := range stack.Services {
				svc := &stack.Services[k]
				key := fmt.Sprintf("%s/%s/%s", oneLine(n.Name), oneLine(stack.Name), oneLine(svc.Container))
				out[key] = fmt.Sprintf("%s %s %s %s", reasonText(svc.Reason), dash(svc.State), image(svc), oneLine(svc.Message))
			}
		}
	}
	return out
}

// jsonDisplay prints one document for each change, each on a line, and one after each time that
// nobody answered, which is a note.
type jsonDisplay struct {
	out, notes io.Writer
	last       string
	lost       bool
}

func (j *jsonDisplay) show(d *document) error {
	key, err := fingerprint(d)
	if err != nil || key == j.last && !j.lost {
		return err
	}
	j.last, j.lost = key, false
	return writeLine(j.out, d)
}

func (j *jsonDisplay) away(err error) error {
	if j.lost {
		return nil
	}
	j.lost = true
	first, _, _ := strings.Cut(err.Error(), "\n")
	_, err = fmt.Fprintln(j.notes, "ktrdrctl: "+oneLine(first))
	return err
}

func (j *jsonDisplay) close() {}

// fingerprint is the document without what changes by the passing of time.
func fingerprint(d *document) (string, error) {
	still := *d
	still.Time = time.Time{}
	still.Nodes = slices.Clone(d.Nodes)
	for i := range still.Nodes {
		n := &still.Nodes[i]
		n.Seen, n.StatusAt = time.Time{}, time.Time{}
		if n.Status != nil {
			st := *n.Status
			st.Time, st.SourceCheckAt = time.Time{}, time.Time{}
			n.Status = &st
		}
	}
	text, err := json.Marshal(still)
	return string(text), err
}
