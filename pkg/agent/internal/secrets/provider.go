package secrets

import (
	"context"
	"errors"
	"fmt"

	"ktrdr.io/fleet/pkg/api"
)

// Provider resolves references such as op://vault/item/field. One instance serves one
// node; methods are safe for concurrent use.
type Provider interface {
	// Name is a word for logs and conditions: "dotenv", "connect", "keyvault".
	Name() string
	// Resolve answers every reference of refs exactly once. A failure of one reference
	// is in its Result; the error is for failures that concern all of them, and then
	// the map may be partial or nil. It honours ctx, retries nothing by itself beyond
	// single requests, and neither error holds a value or the provider's own output.
	Resolve(ctx context.Context, refs []string) (map[string]Result, error)
}

// Result is the answer to one reference.
type Result struct {
	Value Value
	// Version is opaque; it may stay the same only while the value does.
	Version string
	// Err is an *Error; Value is empty when it is set.
	Err error
}

// ErrNotFound, ErrAmbiguous and the like are what callers ask errors.Is for.
var (
	ErrNotFound    = errors.New("not found")
	ErrAmbiguous   = errors.New("more than one match")
	ErrEmpty       = errors.New("the value is empty")
	ErrInvalid     = errors.New("invalid reference")
	ErrDenied      = errors.New("access denied")
	ErrUnreachable = errors.New("provider unreachable")
)

// Error says why a reference, or all of a provider's, can't be resolved.
type Error struct {
	// Ref is empty when the failure concerns the provider as a whole.
	Ref    string
	Class  api.ErrorClass
	Reason api.Reason
	// Err is one of the sentinel errors, or wraps one with words of our own: what a
	// provider answered never gets in here, because it may repeat values.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Ref == "" {
		return fmt.Sprintf("resolve secrets: %v", e.Err)
	}
	return fmt.Sprintf("resolve %s: %v", e.Ref, e.Err)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// invalid is the error of a text that is no reference, or none that the provider knows.
// The text may be a pasted secret: ref is left empty for one that could not be parsed.
func invalid(ref string, err error) *Error {
	return &Error{Ref: ref, Class: api.Terminal, Reason: api.ReasonInvalid, Err: fmt.Errorf("%w: %w", ErrInvalid, err)}
}

// Invalid is the result of a text that is no reference, or none that the provider resolves.
// The text may be a pasted secret: it is not repeated, and err must not do so either.
func Invalid(err error) Result { return Result{Err: invalid("", err)} }

// missing is the error of one reference that only a person, or a change at the provider, can mend.
func missing(ref string, err error) *Error {
	return &Error{Ref: ref, Class: api.Waiting, Reason: api.ReasonSecretMissing, Err: err}
}
