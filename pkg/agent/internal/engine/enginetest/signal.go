package enginetest

import (
	"strconv"
	"strings"
	"time"
)

const (
	// defaultGrace is the engine's own between stop signal and SIGKILL.
	defaultGrace = 10 * time.Second
	sigKill      = 9
)

// signal sends a signal to the process of c, which reacts as its program says.
func (f *Fake) signal(c *container, name string) {
	number := signalNumber(name)
	f.emitContainer(c, "kill", "signal", strconv.Itoa(number))
	if number == sigKill {
		f.exit(c, 128+sigKill)
		return
	}
	if c.program.IgnoreTerm {
		return
	}
	if c.paused {
		_ = f.unpause(c.id)
	}
	gen := c.gen
	f.after(c.program.TermAfter, func() {
		if c.gen == gen {
			f.exit(c, c.program.TermCode)
		}
	})
}

func signalNumber(name string) int {
	numbers := map[string]int{"HUP": 1, "INT": 2, "QUIT": 3, "KILL": sigKill, "USR1": 10, "USR2": 12, "TERM": 15}
	name = strings.TrimPrefix(strings.ToUpper(name), "SIG")
	if n, ok := numbers[name]; ok {
		return n
	}
	if n, err := strconv.Atoi(name); err == nil {
		return n
	}
	return 15
}

func signalOf(c *container, asked string) string {
	if asked != "" {
		return asked
	}
	return c.spec.StopSignal
}

func graceOf(c *container, asked *time.Duration) time.Duration {
	switch {
	case asked != nil:
		return *asked
	case c.spec.StopGrace != nil:
		return *c.spec.StopGrace
	default:
		return defaultGrace
	}
}
