package engine

import (
	"errors"
	"fmt"

	"ktrdr.io/fleet/pkg/api"
)

// ErrNotFound, ErrConflict and the like are what callers ask errors.Is for. Every error of this package is an
// *Error and matches at most one of them.
var (
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("conflict") // name in use, network has endpoints, wrong state
	ErrDenied      = errors.New("denied")   // registry refused the credentials
	ErrUnreachable = errors.New("engine unreachable")
	ErrTimeout     = errors.New("engine did not answer in time")
	ErrNoSpace     = errors.New("no space left on device")
	ErrInvalid     = errors.New("engine refused the request") // HTTP 400: wrong until desired state changes
)

// Error says what was being done to what, why it failed, and how to go on.
type Error struct {
	Op     string // "create container", "pull image"…
	Object string // name or id
	Class  api.ErrorClass
	Reason api.Reason
	Err    error // wraps one of the sentinel errors where one fits
}

// Error implements error. It never holds a secret: the engine's answers are cut to 512
// bytes, and request bodies are never part of it.
func (e *Error) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.Object, e.Err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }
