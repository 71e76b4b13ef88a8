package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// coldStart starts 20 independent services whose image is there.
func coldStart(ctx context.Context, b *bench) ([]row, error) {
	services := serviceList(project("cold"), 20, 0)
	list := []contender{b.agentUp(services)}
	var floors []string
	for _, parallel := range []int{1, 2, 4, 8, 16} {
		c := b.rawUp(services, parallel)
		floors = append(floors, c.name)
		list = append(list, c)
	}
	if b.compose != "" {
		list = append(list, b.composeUp(services))
	}
	s, err := b.turns(ctx, "cold start", list...)
	if err != nil {
		return nil, err
	}
	best := s.quickest(floors)
	rows := []row{s.atMost(1.15, ours, best, "cold start of 20 services ("+best+")")}
	return append(rows, s.besideCompose(1, "  beside docker compose up -d")...), nil
}

// rawUp is a contender that makes the network and creates and starts the containers raw.
func (b *bench) rawUp(services []service, parallel int) contender {
	e := b.engine
	return contender{name: fmt.Sprintf("%s, %d at once", raw, parallel), run: func(ctx context.Context) (time.Duration, error) {
		defer e.sweepAll(ctx)
		return e.timed(ctx, services[0].project, len(services), func(ctx context.Context) error {
			if err := e.createNetwork(ctx, services[0].project); err != nil {
				return err
			}
			g, ctx := errgroup.WithContext(ctx)
			g.SetLimit(parallel)
			for _, s := range services {
				g.Go(func() error {
					id, err := e.create(ctx, s)
					if err != nil {
						return err
					}
					return e.start(ctx, id)
				})
			}
			return g.Wait()
		})
	}}
}
