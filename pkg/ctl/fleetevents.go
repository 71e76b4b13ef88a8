package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"charm.land/lipgloss/v2"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// eventsKept is the number of events that a controller is asked for, and that are
// remembered so that none is shown twice.
const eventsKept = 1000

// fleetEvents prints events of a fleet, each once.
type fleetEvents struct {
	controller *controller
	out, notes io.Writer
	format     string
	from       time.Time
	nodes      []string

	seen  map[eventKey]bool
	order []eventKey
}

// eventKey is an event: numbers begin anew when an agent does.
type eventKey struct {
	node string
	seq  uint64
	at   int64
}

// eventDoc is a line of `ktrdrctl events -o json` of a fleet.
type eventDoc struct {
	// Node is empty for the controller.
	Node string `json:"node"`
	api.Event
}

// read prints what there is, and with follow what comes until ctx ends. A controller that
// goes away meanwhile is waited for.
func (r *fleetEvents) read(ctx context.Context, follow bool) error { //nolint:revive // the flag of the command
	r.seen = map[eventKey]bool{}
	shown, known := false, true
	for {
		err := r.once(ctx, follow, func() { shown, known = true, true })
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the user ended it
		case errors.Is(err, io.EOF) && !follow:
			return nil
		case !follow, !errors.Is(err, io.EOF) && (!isAway(err) || !shown):
			return err
		}
		if known {
			fmt.Fprintln(r.notes, "ktrdrctl: the controller does not answer; waiting for it")
		}
		known = false
		pause(ctx, lostPause)
	}
}

func (r *fleetEvents) once(ctx context.Context, follow bool, alive func()) error { //nolint:revive // the flag of the command
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.controller.Fleet.Events(ctx, &ktrdrv1.EventsRequest{Nodes: r.nodes, Limit: eventsKept, Follow: follow})
	if err != nil {
		return r.controller.Explain(ctx, err)
	}
	for {
		e, err := stream.Recv()
		if err != nil {
			return r.controller.Explain(ctx, err)
		}
		alive()
		if err := r.print(eventDoc{Node: e.GetNode(), Event: wire.EventFromProto(e.GetEvent())}); err != nil {
			return err
		}
	}
}

func (r *fleetEvents) print(e eventDoc) error {
	key := eventKey{e.Node, e.Seq, e.Time.UnixNano()}
	if r.seen[key] || e.Time.Before(r.from) {
		return nil
	}
	r.seen[key] = true
	if r.order = append(r.order, key); len(r.order) > 2*eventsKept {
		delete(r.seen, r.order[0])
		r.order = r.order[1:]
	}
	if r.format == formatJSON {
		return writeLine(r.out, e)
	}
	node := e.Node
	if node == "" {
		node = "controller"
	}
	_, err := lipgloss.Fprintln(r.out, eventText(node, e.Event))
	return err
}
