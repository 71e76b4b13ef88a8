//go:build !linux

package observe

import (
	"context"
	"log/slog"
)

// deathWatch does nothing where there is no pidfd: the engine's events tell of deaths.
type deathWatch struct{}

func newDeathWatch(string, *slog.Logger, func(id string, pid int)) *deathWatch { return &deathWatch{} }

func (*deathWatch) watch(string, int) {}

func (*deathWatch) forget(string) {}

func (*deathWatch) run(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}
