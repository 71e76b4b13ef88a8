package store

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	// ErrNotFound says that there is no such record.
	ErrNotFound = errors.New("not found")
	// ErrExists says that there is such a record already.
	ErrExists = errors.New("exists already")
	// ErrConflict says that somebody else was faster: read again and decide anew.
	ErrConflict = errors.New("changed by somebody else")
	// ErrUnavailable says that etcd gave no answer in time, or has no quorum. Retry; a write may
	// have been done nevertheless, so read before writing again.
	ErrUnavailable = errors.New("etcd does not answer or has no quorum; retry later, and look whether a majority of its members runs")
	// ErrFull says that the data base has reached its quota and takes no writes.
	ErrFull = errors.New("etcd has reached its quota and takes no writes: " +
		"embedded: restart the controller, which compacts it, and raise store.embedded.quotaBytes if it fills up again; " +
		"external: compact, defragment and `etcdctl alarm disarm`")
	// ErrNewer says that a newer controller wrote this.
	ErrNewer = errors.New("written by a newer controller; upgrade this one")
	// ErrOtherAuthority says that the fleet in this store has another authority.
	ErrOtherAuthority = errors.New("the fleet in this store has another authority")
	// ErrLocked says that another process has the embedded store open.
	ErrLocked = errors.New("another controller has it open; stop that one, or give this one a folder of its own")
	// ErrInvalid is about a record that may not be stored as it is.
	ErrInvalid = errors.New("invalid record")
	// ErrTokenInvalid says that there is no such token, or that this is not its secret; which of them is not told.
	ErrTokenInvalid = errors.New("the join token is not valid; ask for a new one with ktrdrctl")
	// ErrTokenUsed says that the token was redeemed before.
	ErrTokenUsed = errors.New("the join token was used already; ask for a new one with ktrdrctl")
	// ErrTokenExpired says that the token, of a node or of an operator, is past its end.
	ErrTokenExpired = errors.New("the token has expired; ask for a new one with ktrdrctl")
)

// classify gives an error of etcd one of this package's classes. The caller's own end
// (cancelled, deadline) stays what it is.
func classify(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return ErrFull
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fmt.Errorf("%w (no answer within %s)", ErrUnavailable, callTimeout)
	}
	code := status.Code(err)
	if known, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		code = known.Code()
	}
	if errors.Is(err, rpctypes.ErrAuthFailed) { // etcd calls it an invalid argument
		code = codes.Unauthenticated
	}
	switch code { //nolint:exhaustive // the rest of gRPC's codes are no outages
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted, codes.Aborted:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case codes.Unauthenticated, codes.PermissionDenied:
		return fmt.Errorf("%w: look at username, passwordFile and certificate of store.external, and at the role's keys in etcd", err)
	default:
		if known := err.Error(); known == "etcdserver: server stopped" {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		return err
	}
}
