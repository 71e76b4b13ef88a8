package state

import (
	"errors"
	"fmt"
	"syscall"

	"ktrdr.io/fleet/pkg/api"
)

// ErrLocked, ErrDiskFull and the like are what callers ask errors.Is for.
var (
	// ErrLocked: another agent has the folder open.
	ErrLocked = errors.New("in use by another agent")
	// ErrDiskFull: the value changed in memory, but not on disk. A later write brings both together.
	ErrDiskFull = errors.New("no space left on device")
	// ErrDamaged: what is on disk is not what was written.
	ErrDamaged = errors.New("damaged")
	// ErrNone: there is no last good desired state.
	ErrNone = errors.New("none kept")
	// ErrDigest: a repository file or folder does not have the content that was wanted.
	ErrDigest = errors.New("the content does not have the wanted digest")
)

// Error says what was being done, why it failed, and how to go on.
type Error struct {
	Op     string // "write agent state", "open agent state"…
	Class  api.ErrorClass
	Reason api.Reason
	Err    error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func failed(op string, err error) *Error {
	e := &Error{Op: op, Class: api.Transient, Reason: api.ReasonStateCorrupt, Err: err}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		e.Class, e.Reason, e.Err = api.Waiting, api.ReasonDiskFull, fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return e
}
