package ctl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"
)

// unreachableError says what was tried, what happened and what to do.
type unreachableError struct {
	address string
	timeout time.Duration
	cause   error
}

// Unwrap gives the cause.
func (e *unreachableError) Unwrap() error { return e.cause }

// Error names the address, the likely cause and the fix.
func (e *unreachableError) Error() string {
	what, fix := e.explain()
	return fmt.Sprintf("the agent can't be reached at %s: %s\n%s", e.address, what, fix)
}

const (
	fixRunning   = "  Is it running here?     systemctl status ktrdr-agent\n  Why did it end?         journalctl -u ktrdr-agent -e"
	fixElsewhere = "  Does it listen elsewhere? Set --agent or KTRDR_AGENT."
)

func (e *unreachableError) explain() (what, fix string) {
	unix := strings.HasPrefix(e.address, "unix:")
	switch {
	case unix && errors.Is(e.cause, fs.ErrNotExist):
		return "there is no such socket", fixRunning + "\n" + fixElsewhere
	case unix && errors.Is(e.cause, fs.ErrPermission):
		return "you may not use the socket", "  Use sudo, or become a member of the socket's group (ls -l shows it).\n" +
			"  For reading only:       --agent http://127.0.0.1:9180"
	case errors.Is(e.cause, syscall.ECONNREFUSED):
		return "nobody listens there", fixRunning + "\n" + fixElsewhere
	case errors.Is(e.cause, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %s", e.timeout), "  It may be overloaded or hang: journalctl -u ktrdr-agent -e\n  Wait longer with --timeout."
	}
	return cause(e.cause), fixRunning + "\n" + fixElsewhere
}

// cause is the innermost error: the layers around it repeat the address.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
