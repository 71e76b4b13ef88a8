package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// edit changes one service of 20 in a folder source and waits for it to be converged.
func edit(ctx context.Context, b *bench) ([]row, error) {
	services := serviceList(project("edit"), 20, 0)
	a, err := b.startAgent(ctx, services[0].project, composeFile(services))
	if err != nil {
		return nil, err
	}
	defer func() { _ = a.stop() }()
	if err := a.deployed(ctx); err != nil {
		return nil, err
	}
	s, err := b.turns(ctx, "edit to converged", b.rawChange(a.project), b.edited(a, services))
	if err != nil {
		return nil, err
	}
	return []row{s.within(60*time.Millisecond, ours, raw, "edit to converged, one of 20 services")}, nil
}

// edited measures from the write of the file to the first status that calls the new
// revision converged. It asks for the status from the start of the new container on, before
// which the answer can only be no: a poll every few milliseconds takes from the start what
// it is to measure.
func (b *bench) edited(a *agent, services []service) contender {
	count := 0
	return contender{name: ours, run: func(ctx context.Context) (time.Duration, error) {
		before, err := a.status(ctx)
		if err != nil {
			return 0, err
		}
		count++
		head := "  " + services[9].name + ":\n"
		text := strings.Replace(composeFile(services), head, fmt.Sprintf("%s    environment: {EDIT: \"%d\"}\n", head, count), 1)
		w, err := b.engine.watch(ctx, benchLabel, a.project)
		if err != nil {
			return 0, err
		}
		defer w.stop()
		began := time.Now()
		if err := a.writeCompose(text); err != nil {
			return 0, err
		}
		if _, err := w.await(ctx, "start", 1); err != nil {
			return 0, err
		}
		ended, err := a.await(ctx, func(st *api.NodeStatus) bool { return st.Revision != before.Revision && converged(st) })
		return ended.Sub(began), err
	}}
}

// rawChange stops a container and creates and starts another one, on the network of the
// agent's.
func (b *bench) rawChange(guest string) contender {
	e := b.engine
	return contender{name: raw, run: func(ctx context.Context) (time.Duration, error) {
		old, err := e.create(ctx, service{project: floorProject, name: "old", guest: guest})
		if err != nil {
			return 0, err
		}
		if err := e.start(ctx, old); err != nil {
			return 0, err
		}
		var id string
		took, err := e.timed(ctx, floorProject, 1, func(ctx context.Context) (err error) {
			if err := e.post(ctx, "/containers/"+old+"/stop", nil); err != nil {
				return err
			}
			if id, err = e.create(ctx, service{project: floorProject, name: "new", guest: guest}); err != nil {
				return err
			}
			return e.start(ctx, id)
		})
		return took, errors.Join(err, e.remove(ctx, old), e.remove(ctx, id))
	}}
}
