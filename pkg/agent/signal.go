package agent

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// syncOnHangup looks at the source and the policy file at once when the process gets SIGHUP.
func (a *Agent) syncOnHangup(ctx context.Context) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangups:
			a.gate.Reload()
			ring(a.follow.sync)
		}
	}
}
