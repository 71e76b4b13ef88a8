package connect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
)

// faultKind is what went wrong with a request.
type faultKind int

const (
	noToken      faultKind = iota + 1 // the token could not be read
	unauthorized                      // 401
	forbidden                         // 403
	notFound                          // 404
	rejected                          // any other 4xx
	serverError                       // 5xx
	redirected                        // 3xx
	wrongContent                      // 200 with something else than the API's answer
	tooLarge                          // more than maxAnswer
	timedOut
	broken // no connection, or one that ended too early
	untrusted
)

func ofStatus(status int) faultKind {
	switch {
	case status == http.StatusUnauthorized:
		return unauthorized
	case status == http.StatusForbidden:
		return forbidden
	case status == http.StatusNotFound:
		return notFound
	case status >= 500 || status == http.StatusTooManyRequests:
		return serverError
	case status >= 400:
		return rejected
	case status >= 300:
		return redirected
	}
	return wrongContent // 204 and the like
}

// attempts is how often a request is sent before its answer is believed. After a restart a
// server refuses good tokens once; 403 is seen now and then; 5xx and pages of proxies pass.
func (k faultKind) attempts() int {
	switch k {
	case unauthorized:
		return 2
	case forbidden, serverError, wrongContent, broken:
		return 3
	case noToken, notFound, rejected, redirected, tooLarge, timedOut, untrusted:
		return 1
	}
	return 1
}

// fault is the failure of one request, in words of our own: nothing that a server answered
// gets into err, because it may repeat values.
type fault struct {
	kind faultKind
	err  error
}

func (f *fault) Error() string { return f.err.Error() }

func (f *fault) Unwrap() error { return f.err }

func newFault(c *client, kind faultKind, status int) *fault {
	class, reason, text := api.Transient, api.ReasonProviderDown, ""
	is := secrets.ErrUnreachable
	switch kind {
	case unauthorized:
		class, reason, is = api.Waiting, api.ReasonProviderDenied, secrets.ErrDenied
		text = "refuses the token (401)" + c.expiry() + ": put a new one into " + c.tokens.where()
	case forbidden:
		class, reason, is = api.Waiting, api.ReasonProviderDenied, secrets.ErrDenied
		text = "does not let the token read this (403): give the token of " + c.tokens.where() + " access to the vault"
	case notFound:
		is = secrets.ErrNotFound
		text = "has no such thing (404): is secrets.connect.url the address of a Connect server?"
	case rejected:
		class = api.Waiting
		text = fmt.Sprintf("does not accept the request (%d): is secrets.connect.url the address of a Connect server?", status)
	case serverError:
		text = fmt.Sprintf("answers with an error (%d): it is starting, not synced yet, or a proxy before it does not reach it", status)
	case redirected:
		class = api.Waiting
		text = fmt.Sprintf("answers with a redirect (%d), which is not followed: set secrets.connect.url to the final address", status)
	case wrongContent:
		text = "answers with something else than Connect does: a login page, a proxy, or another server stands there"
	case tooLarge:
		class = api.Waiting
		text = fmt.Sprintf("answers with more than %d bytes", maxAnswer)
	case timedOut:
		text = fmt.Sprintf("does not answer within %s", c.timeout)
	case broken:
		text = "ends the connection too early"
	case noToken, untrusted: // made where the cause is known
	}
	return c.fault(kind, class, reason, fmt.Errorf("%s: %w", text, is))
}

func (c *client) fault(kind faultKind, class api.ErrorClass, reason api.Reason, err error) *fault {
	return &fault{kind: kind, err: &secrets.Error{
		Class: class, Reason: reason, Err: fmt.Errorf("1Password Connect at %s %w", c.base.Host, err),
	}}
}

// expiry says when a token ended, if it did.
func (c *client) expiry() string {
	state := c.tokens.told()
	if state == nil || state.Expires.IsZero() || time.Now().Before(state.Expires) {
		return ""
	}
	return ", which expired on " + state.Expires.Format(time.DateOnly)
}

// connection names the cause of a failed connection. The texts of net/http and of TLS
// are not used: they may quote what the other side sent.
func (c *client) connection(ctx context.Context, err error) *fault {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &fault{kind: timedOut, err: context.Canceled}
	}
	// A dial that the deadline ends says so in its own way.
	if late, ok := errors.AsType[net.Error](err); errors.Is(ctx.Err(), context.DeadlineExceeded) || ok && late.Timeout() {
		return newFault(c, timedOut, 0)
	}
	if text := distrust(err); text != "" {
		return c.fault(untrusted, api.Waiting, api.ReasonProviderDown, fmt.Errorf("%s: %w", text, secrets.ErrUnreachable))
	}
	if text := dialFault(err); text != "" {
		return c.fault(broken, api.Transient, api.ReasonProviderDown, fmt.Errorf("can't be reached: %s: %w", text, secrets.ErrUnreachable))
	}
	return newFault(c, broken, 0)
}

func distrust(err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown):
		return "shows a certificate of an unknown authority: name its file in secrets.connect.caFile"
	case errors.As(err, &name):
		return "shows a certificate of another name: use the name in it for secrets.connect.url"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "shows a certificate that is expired or not valid yet: renew it, and check the clocks"
	case errors.As(err, &invalid):
		return "shows a certificate that is not good for a server"
	case errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch):
		return "does not speak TLS: is it http?"
	}
	return ""
}

func dialFault(err error) string {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "its name is not known"
	}
	if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "dial" {
		return ""
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return "no connection"
}
