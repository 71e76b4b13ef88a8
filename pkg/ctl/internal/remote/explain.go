package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// UnreachableError says that no controller answered, why, and what to do.
type UnreachableError struct {
	Address, Why, Fix string
	// Unsent says that the request never left this machine.
	Unsent bool
}

// Error names the address, the cause and the fix.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("the controller can't be reached at %s: %s\n  %s", e.Address, e.Why, e.Fix)
}

// RefusedError is a controller's No.
type RefusedError struct {
	Code codes.Code
	// Reason is a stable CamelCase word; empty where the controller gave none.
	Reason   string
	Message  string
	Problems []*ktrdrv1.Problem
	// Fix is what to do; empty where the message says it.
	Fix string
}

// Error is the message with its fix.
func (e *RefusedError) Error() string {
	if e.Fix == "" {
		return e.Message
	}
	return e.Message + "\n  " + e.Fix
}

// ExpiredError says that the operator's certificate has ended.
type ExpiredError struct{ Ended, Now time.Time }

// Error says since when, and what to do.
func (e *ExpiredError) Error() string {
	return fmt.Sprintf("your certificate ended on %s\n  Let an admin make another one: ktrdrctl operator add NAME --certificate -o FILE; then ktrdrctl context add. One that is used\n  renews itself in time.\n"+
		"  This machine's clock says %s: is that right?", e.Ended.UTC().Format(time.RFC3339), e.Now.UTC().Format(time.RFC3339))
}

// Explain makes an error of ktrdrctl of one of gRPC: *UnreachableError, *RefusedError, or
// context.Canceled when ctx has ended by the user's will. io.EOF and nil stay what they are.
func (c *Conn) Explain(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Canceled
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	unsent := isAs[unsentError](err)
	switch st.Code() { //nolint:exhaustive // the others are refusals
	case codes.Unavailable:
		return c.unreachable(ctx, unsent, st.Message(), "")
	case codes.DeadlineExceeded:
		return c.unreachable(ctx, unsent, "", "no answer in time")
	case codes.Canceled:
		return context.Canceled
	}
	return refused(st)
}

func refused(st *status.Status) error {
	e := &RefusedError{Code: st.Code(), Message: st.Message()}
	for _, detail := range st.Details() {
		if r, ok := detail.(*ktrdrv1.Refusal); ok {
			e.Reason, e.Problems = r.GetReason(), r.GetProblems()
		}
	}
	switch st.Code() { //nolint:exhaustive // the message of all others is for people
	case codes.Unauthenticated:
		e.Message = "the controller does not know you: " + st.Message()
		e.Fix = "The token may have ended or been removed, or the context is of another fleet: ktrdrctl context show. An admin makes a new one: ktrdrctl operator add NAME."
	case codes.PermissionDenied:
		e.Message = "you may not do that: " + st.Message()
		e.Fix = "ktrdrctl whoami shows your role; an admin gives another one: ktrdrctl operator add NAME --role ROLE."
	case codes.Unimplemented:
		e.Message = "the controller does not know this request: " + st.Message()
		e.Fix = "It is probably older than this ktrdrctl: ktrdrctl version."
	case codes.Unknown, codes.Internal, codes.DataLoss:
		e.Message = "the controller failed: " + st.Message()
		e.Fix = "Its log says more: journalctl -u ktrdr-controller -e"
	}
	if e.Message == "" {
		e.Message = "the controller refuses: " + st.Code().String()
	}
	return e
}

// unreachable finds out why by connecting once more: gRPC hands on no more than a text.
func (c *Conn) unreachable(ctx context.Context, unsent bool, text, slow string) error {
	e := &UnreachableError{Address: c.Address(), Unsent: unsent}
	failure := c.tryAll(context.WithoutCancel(ctx))
	switch {
	case failure != nil:
		e.Why, e.Fix = why(failure, time.Now())
	case slow != "":
		e.Why, e.Fix = slow, "It may be overloaded. Wait longer with --timeout."
	default:
		e.Why, e.Fix = "the connection ended: "+text, fixRunning
		c.grpc.ResetConnectBackoff() // it is back: the next call need not wait for the pause between attempts
	}
	return e
}

// tryAll is nil when one of the controllers can be reached.
func (c *Conn) tryAll(ctx context.Context) error {
	failures := make([]error, len(c.addresses))
	var asked sync.WaitGroup
	for i, address := range c.addresses {
		asked.Go(func() { failures[i] = c.try(ctx, address) })
	}
	asked.Wait()
	if slices.Contains(failures, nil) {
		return nil
	}
	return failures[0]
}

// try connects as a call does and returns why that does not work. A certificate that the
// controller does not accept shows only when something is read; one that accepts it sends its
// settings at once.
func (c *Conn) try(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	conf := c.tls.Clone()
	conf.NextProtos = []string{"h2"}
	conn, err := (&tls.Dialer{NetDialer: &net.Dialer{}, Config: conf}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing was sent
	end, _ := ctx.Deadline()
	if err := conn.SetReadDeadline(end); err != nil {
		return err
	}
	if _, err = conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// tryTimeout bounds the connection that finds out why there is none.
const tryTimeout = 5 * time.Second

const fixRunning = "Is it running?  systemctl status ktrdr-controller, journalctl -u ktrdr-controller -e. Agents run on without it."

func why(err error, now time.Time) (what, fix string) {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return expired(invalid.Cert, now)
	}
	var name *net.DNSError
	var timeout net.Error
	switch {
	case isAs[x509.UnknownAuthorityError](err):
		return "its certificate is not of the fleet's authority",
			"The context is of another fleet, the fleet has a new authority, or somebody stands in between. Compare the authority with the one on the controller before you add the context again: ktrdrctl context show."
	case isAs[x509.HostnameError](err):
		host, _ := errors.AsType[x509.HostnameError](err)
		return "its certificate is not for that name: " + host.Error(), "Use a name of the certificate in the context, or add this one to the controller's configuration."
	case errors.As(err, &name):
		return "the name is not known: " + name.Name, "Correct the address: ktrdrctl context show."
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens there", fixRunning
	case errors.As(err, &timeout) && timeout.Timeout():
		return "no answer to the connection", "A firewall may drop it, or the machine is off. " + fixRunning
	case strings.Contains(err.Error(), "remote error: tls: expired certificate"):
		return "it says that your certificate has ended",
			"Let an admin make another one: ktrdrctl operator add NAME --certificate. Compare the clocks of both machines, too: date -u."
	case strings.Contains(err.Error(), "remote error: tls:"):
		return "it does not accept your certificate (" + innermost(err) + ")",
			"It is of another fleet or was revoked: ktrdrctl context show; an admin makes another one."
	case strings.Contains(err.Error(), "first record does not look like a TLS handshake"):
		return "something answers that speaks no TLS", "Is it the controller's port? ktrdrctl context show"
	}
	return innermost(err), fixRunning
}

// expired tells a certificate that has ended from a clock that is wrong.
func expired(cert *x509.Certificate, now time.Time) (what, fix string) {
	clock := "this machine's clock says " + now.UTC().Format(time.RFC3339)
	if now.Before(cert.NotBefore) {
		return "its certificate is good from " + cert.NotBefore.UTC().Format(time.RFC3339) + " on, and " + clock,
			"The clock of this machine or of the controller is wrong: date -u on both."
	}
	return "its certificate ended on " + cert.NotAfter.UTC().Format(time.RFC3339) + ", and " + clock,
		"Where the clock is right, the controller has to renew it: journalctl -u ktrdr-controller -e"
}

func isAs[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func innermost(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
