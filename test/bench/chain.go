package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// chain starts 6 services, each of which waits for the one before to be healthy.
func chain(ctx context.Context, b *bench) ([]row, error) {
	var rows []row
	for _, c := range []struct {
		interval time.Duration
		limit    float64 // as a part of what docker compose takes
	}{{time.Second, 0.6}, {10 * time.Second, 0.2}} {
		services := serviceList(project("chain"), 6, c.interval)
		list := []contender{b.agentUp(services), b.rawChain(services)}
		if b.compose != "" {
			up := b.composeUp(services)
			if c.interval > time.Second {
				up.rounds = 2 // it mostly sleeps, so that its time hardly varies
			}
			list = append(list, up)
		}
		title := fmt.Sprintf("chain of 6, interval %s", c.interval)
		s, err := b.turns(ctx, title, list...)
		if err != nil {
			return rows, err
		}
		rows = append(rows, s.atMost(1.1, ours, raw, title))
		rows = append(rows, s.besideCompose(c.limit, "  beside docker compose up -d")...)
	}
	return rows, nil
}

// rawChain creates all containers at once, and starts each as soon as the healthcheck of
// the one before, run by exec from its start on, has passed.
func (b *bench) rawChain(services []service) contender {
	e := b.engine
	return contender{name: raw, run: func(ctx context.Context) (time.Duration, error) {
		defer e.sweepAll(ctx)
		return e.timed(ctx, services[0].project, len(services), func(ctx context.Context) error {
			if err := e.createNetwork(ctx, services[0].project); err != nil {
				return err
			}
			ids := make([]string, len(services))
			g, gctx := errgroup.WithContext(ctx)
			for i, s := range services {
				g.Go(func() (err error) {
					ids[i], err = e.create(gctx, s)
					return err
				})
			}
			if err := g.Wait(); err != nil {
				return err
			}
			for i, id := range ids {
				if err := e.start(ctx, id); err != nil {
					return err
				}
				if i == len(ids)-1 {
					return nil
				}
				if err := e.awaitCheck(ctx, id); err != nil {
					return err
				}
			}
			return nil
		})
	}}
}

// awaitCheck repeats the healthcheck until it passes.
func (e *engine) awaitCheck(ctx context.Context, id string) error {
	for {
		if passed, err := e.check(ctx, id); err != nil || passed {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
