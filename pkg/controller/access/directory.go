package access

import (
	"context"
	"errors"
	"time"
)

// ErrDenied tells that a directory does not know somebody, or not any more: removed,
// revoked, expired. Any other error of a directory means that it can't tell now.
var ErrDenied = errors.New("not known, or not any more")

// Directory knows nodes and operators. It is asked for each call, so that a revocation
// counts at once. It is for concurrent use. Implemented by pkg/controller/enroll on the
// store.
type Directory interface {
	// Node wants the node to be registered with this certificate.
	Node(ctx context.Context, name, serial string) error
	// Controller wants the controller to run.
	Controller(ctx context.Context, id string) error
	// Operator wants the operator to have this certificate.
	Operator(ctx context.Context, name, serial string) (Person, error)
	// OperatorByToken finds the operator by pki.Hash of a token's secret.
	OperatorByToken(ctx context.Context, hash string) (Person, error)
}

// Person is an operator as the directory has it.
type Person struct {
	Name, Email string
	// Role is Viewer, Operator or Admin.
	Role Role
	// Expires is when the access ends; zero for never.
	Expires time.Time
}

// Entry is one call or request in the audit trail.
type Entry struct {
	At time.Time
	// Who is a Caller's String.
	Who  string
	Role Role
	// What is the method without its package, such as FleetService/Scale, or the name of an
	// HTTP request, such as "git push".
	What string
	// Target is what it was about.
	Target string
	From   string
	// Result is ok, or the code: PermissionDenied, 403.
	Result string
	// Detail is one sentence without secrets.
	Detail string
}

// Trail keeps what was done. It is for concurrent use.
type Trail interface {
	Record(ctx context.Context, e Entry) error
}
