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

  0  converged, valid, nothing to do, done; a rollout that succeeded
  1  error: wrong usage, invalid desired state, the request was refused
  2  not converged, changes are pending, or a rollout that has not ended
  3  blocked: a person has to act; a rollout that failed, a check that failed
  4  the controller or the agent can't be reached

status and sync --wait end with 0, 2 or 3 by what runs; a node that can't be
reached is 2. deploy, scale and rollback end with 0 when the rollout succeeded,
with --no-wait as soon as the change is made. plan ends with 2 when there is
something to do, and with 3 when nothing can be done about a blocked stack.`

// exitCode is an end that is no error: the output has said everything.
type exitCode int

// Error implements error.
func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// codeOf maps an error to the exit code.
func codeOf(err error) int {
	var code exitCode
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case isAway(err):
		return exitUnreachable
	}
	return exitError
}
