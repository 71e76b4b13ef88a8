package telemetry

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notify tells systemd that the program is ready, and then pets its watchdog while
// alive returns nil: a program that hangs is restarted. The text of alive's error is
// shown by `systemctl status`. Notify returns when ctx ends, after telling that the
// program stops. Without NOTIFY_SOCKET it only waits. sd_notify(3), sd_watchdog_enabled(3).
func Notify(ctx context.Context, alive func() error) error {
	sent, err := daemon.SdNotify(false, daemon.SdNotifyReady+"\nSTATUS=running")
	if err != nil {
		return fmt.Errorf("tell systemd that the program is ready: %w", err)
	}
	if !sent {
		<-ctx.Done()
		return nil
	}
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("ask for systemd's watchdog: %w", err)
	}
	pet(ctx, alive, interval)
	if _, err := daemon.SdNotify(false, daemon.SdNotifyStopping+"\nSTATUS=stopping; containers run on"); err != nil {
		return fmt.Errorf("tell systemd that the program stops: %w", err)
	}
	return nil
}

// pet returns when ctx ends. A notification that can't be sent is tried again at the next
// turn; if that goes on, the watchdog itself is the consequence.
func pet(ctx context.Context, alive func() error, interval time.Duration) {
	if interval <= 0 {
		<-ctx.Done()
		return
	}
	ticker := time.NewTicker(interval / 3)
	defer ticker.Stop()
	status := ""
	for {
		state := daemon.SdNotifyWatchdog + "\nSTATUS=running"
		if err := alive(); err != nil {
			state = "STATUS=" + strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		// systemd logs nothing for a status, but there is no use in repeating one.
		if state != status || strings.HasPrefix(state, daemon.SdNotifyWatchdog) {
			if _, err := daemon.SdNotify(false, state); err == nil {
				status = state
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
