package access

import (
	"context"
	"time"
)

// Ways in which a caller proved who it is.
const (
	ByCertificate = "certificate"
	ByToken       = "token"
)

// Caller is who makes a call.
type Caller struct {
	Role Role
	// Name of the node or the operator; empty for anonymous.
	Name string
	// Email of an operator, for commits.
	Email string
	// By is how the caller proved who it is; empty for anonymous.
	By string
	// Serial of the certificate, as pki.SerialOf writes it.
	Serial string
	// Expires is when the proof ends; zero for never.
	Expires time.Time
	// From is the address that the call came from.
	From string

	// hash finds an operator by token again.
	hash string
}

// String is "operator/karl", "node/b", "controller/<id>" or "anonymous".
func (c Caller) String() string {
	switch c.Role {
	case Anonymous:
		return string(Anonymous)
	case Node:
		return "node/" + c.Name
	case Controller:
		return "controller/" + c.Name
	case Viewer, Operator, Admin:
		return "operator/" + c.Name
	}
	return "unknown"
}

type callKey struct{}

// CallerFrom returns who makes the call that ctx belongs to. Without a Guard in between
// nobody does: ok is false, and the handler must refuse.
func CallerFrom(ctx context.Context) (caller Caller, ok bool) {
	if c := callFrom(ctx); c != nil {
		return c.caller, true
	}
	return Caller{}, false
}
