package doctor

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"ktrdr.io/fleet/pkg/api"
)

// timeError is the state of a clock that nothing keeps right. Source: adjtimex(2).
const (
	timeError = 5
	modeRead  = 0
)

// clock asks the kernel whether its clock is kept right. In a container it is the host's.
func (c *Config) clock(_ context.Context, _ Request, emit func(api.Check)) {
	var t unix.Timex
	t.Modes = modeRead
	state, err := unix.Adjtimex(&t)
	now := time.Now().UTC().Format(time.RFC3339)
	switch {
	case err != nil:
		emit(row("clock", "", api.CheckSkip, "%s; whether it is kept right can't be told: %v", now, err))
	case state == timeError || t.Status&unix.STA_UNSYNC != 0:
		emit(fixed(row("clock", "", api.CheckWarn, "%s; nothing keeps it right", now),
			"run a time service (systemd-timesyncd or chrony) on the machine, for an LXC on its host: certificates and tokens depend on it"))
	default:
		emit(row("clock", "", api.CheckOK, "%s, kept right to %s", now, (time.Duration(t.Maxerror) * time.Microsecond).Round(time.Millisecond)))
	}
}
