package ctl

import (
	"errors"
	"fmt"
)

// Exit codes. docs/spec/status.md and `ktrdrctl help exit-codes` explain them.
const (
	exitOK          = 0
	exitError       = 1
	exitPending     = 2
	exitBlocked     = 3
	exitUnreachable = 4
)

const exitHelp = `What the exit codes of ktrdrctl mean:

  0  converged, valid, nothing to do, done
  1  error: wrong usage, invalid desired state, the agent refused the request
  2  not converged, or changes are pending
  3  blocked: a person has to act before the stack can converge
  4  the agent can't be reached

status and sync --wait end with 0, 2 or 3 by what runs; plan with 2 when there
is something to do, and with 3 when nothing can be done about a blocked stack.`

// exitCode is an end that is no error: the output has said everything.
type exitCode int

// Error implements error.
func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// codeOf maps an error to the exit code.
func codeOf(err error) int {
	var code exitCode
	var lost *unreachableError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &lost):
		return exitUnreachable
	}
	return exitError
}
