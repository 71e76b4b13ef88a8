package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"
)

// deaths is how many processes are killed in a round.
const deaths = 4

// death kills processes and compares when a pidfd and when the engine's event tell.
func death(ctx context.Context, b *bench) ([]row, error) {
	if err := b.engine.createNetwork(ctx, floorProject); err != nil {
		return nil, err
	}
	s := series{}
	for range b.rounds * deaths {
		if err := b.oneDeath(ctx, s); err != nil {
			return nil, err
		}
	}
	b.say("death of a process: pidfd %v, die event %v", s["pidfd"], s["die"])
	byEvent, byPidfd := median(s["die"]), median(s["pidfd"])
	return []row{{
		measure: "death of a process known: die event (floor), pidfd (ours)", floor: span(byEvent), ours: span(byPidfd),
		result: fmt.Sprintf("%.0f x sooner", float64(byEvent)/float64(byPidfd)),
	}}, nil
}

func (b *bench) oneDeath(ctx context.Context, s series) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	e := b.engine
	id, err := e.create(ctx, service{project: floorProject, name: "mortal", guest: floorProject})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.remove(ctx, id)) }()
	if err := e.start(ctx, id); err != nil {
		return err
	}
	var c struct{ State struct{ Pid int } }
	if err := e.call(ctx, http.MethodGet, "/containers/"+id+"/json", nil, &c); err != nil {
		return err
	}
	w, err := e.watch(ctx, benchLabel, floorProject)
	if err != nil {
		return err
	}
	defer w.stop()
	ended, err := awaitExit(c.State.Pid)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := syscall.Kill(c.State.Pid, syscall.SIGKILL); err != nil {
		return err
	}
	died, err := w.await(ctx, "die", 1)
	if err != nil {
		return err
	}
	s["die"] = append(s["die"], died.Sub(began))
	s["pidfd"] = append(s["pidfd"], (<-ended).Sub(began))
	return nil
}
