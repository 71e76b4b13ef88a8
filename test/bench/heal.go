package main

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// floorProject marks containers that are made raw while an agent runs.
const floorProject = prefix + "floor"

// heal removes a container by force and waits for its replacement to run.
func heal(ctx context.Context, b *bench) ([]row, error) {
	services := serviceList(project("heal"), 2, 0)
	a, err := b.startAgent(ctx, services[0].project, composeFile(services))
	if err != nil {
		return nil, err
	}
	defer func() { _ = a.stop() }()
	if err := a.deployed(ctx); err != nil {
		return nil, err
	}
	s, err := b.turns(ctx, "docker rm -f to replacement", b.rawReplacement(a.project), b.healed(a, services[0]))
	if err != nil {
		return nil, err
	}
	return []row{s.within(25*time.Millisecond, ours, raw, "docker rm -f to replacement running")}, nil
}

// healed measures from the return of the removal to the start of the replacement.
func (b *bench) healed(a *agent, s service) contender {
	return contender{name: ours, run: func(ctx context.Context) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		w, err := b.engine.watch(ctx, benchLabel, s.project)
		if err != nil {
			return 0, err
		}
		defer w.stop()
		if err := b.engine.call(ctx, http.MethodDelete, "/containers/"+s.container()+"?force=1", nil, nil); err != nil {
			return 0, err
		}
		began := time.Now()
		ended, err := w.await(ctx, "start", 1)
		if err != nil {
			return 0, err
		}
		_, err = a.await(ctx, converged)
		return ended.Sub(began), err
	}}
}

// rawReplacement creates and starts one container raw, on the network of the agent's.
func (b *bench) rawReplacement(guest string) contender {
	s := service{project: floorProject, name: "web", guest: guest}
	return contender{name: raw, run: func(ctx context.Context) (time.Duration, error) {
		var id string
		took, err := b.engine.timed(ctx, s.project, 1, func(ctx context.Context) (err error) {
			if id, err = b.engine.create(ctx, s); err != nil {
				return err
			}
			return b.engine.start(ctx, id)
		})
		return took, errors.Join(err, b.engine.remove(ctx, id))
	}}
}
