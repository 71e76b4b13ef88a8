package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"ktrdr.io/fleet/pkg/api"
)

// maxErrorText bounds what is kept of the engine's words, in bytes.
const maxErrorText = 512

// unsupportedError says that the engine is too old for something that the spec asks for.
type unsupportedError struct{ attribute, needs, has string }

func (e *unsupportedError) Error() string {
	return fmt.Sprintf("%s needs Engine API %s, this engine has %s", e.attribute, e.needs, e.has)
}

// invalidError is a value that can't be sent to any engine.
type invalidError struct{ err error }

func (e *invalidError) Error() string { return e.err.Error() }
func (e *invalidError) Unwrap() error { return e.err }

func invalidf(format string, args ...any) error {
	return &invalidError{fmt.Errorf(format, args...)}
}

// verdict is how a failure is classified.
type verdict struct {
	sentinel error
	class    api.ErrorClass
	reason   api.Reason
}

// fail turns what a call returned into an *Error, and forgets the session when the
// engine can't be reached: what answers next may be another version.
func (c *Client) fail(ctx context.Context, what call, err error) error {
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	v := classify(ctx, err)
	if errors.Is(v.sentinel, ErrUnreachable) || errors.Is(v.sentinel, ErrTimeout) {
		c.current.Store(nil)
		c.transport.base.CloseIdleConnections()
	}
	text := c.cutText(err.Error(), what.secrets)
	failure := &Error{Op: what.op, Object: what.object, Class: v.class, Reason: v.reason}
	switch {
	case errors.Is(err, context.Canceled):
		failure.Err = context.Canceled
	case v.sentinel == nil:
		failure.Err = errors.New(text)
	case text == "" || text == v.sentinel.Error() || errors.Is(v.sentinel, ErrTimeout):
		failure.Err = v.sentinel
	default:
		failure.Err = fmt.Errorf("%w: %s", v.sentinel, text)
	}
	return failure
}

// cutText takes the client's prefixes and the given secrets out of an error text and
// keeps its first 512 bytes.
func (c *Client) cutText(text string, secrets []string) string {
	text = c.cfg.Redact(strings.TrimPrefix(text, "Error response from daemon: "))
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxErrorText {
		text = strings.ToValidUTF8(text[:maxErrorText-3], "") + "..."
	}
	return text
}

func classify(ctx context.Context, err error) verdict {
	_, unsupported := errors.AsType[*unsupportedError](err)
	_, invalid := errors.AsType[*invalidError](err)
	switch {
	case unsupported:
		return verdict{ErrInvalid, api.Terminal, api.ReasonUnsupported}
	case invalid:
		return verdict{ErrInvalid, api.Terminal, api.ReasonInvalid}
	case errors.Is(err, context.Canceled):
		return verdict{nil, api.Transient, api.ReasonEngineFailed}
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return verdict{ErrTimeout, api.Transient, api.ReasonEngineHung}
	case errors.Is(err, ErrOverflow):
		return verdict{ErrOverflow, api.Transient, api.ReasonEngineFailed}
	case isUnreachable(err):
		return verdict{ErrUnreachable, api.Transient, api.ReasonEngineDown}
	}
	if v, ok := classifyText(strings.ToLower(err.Error())); ok {
		return v
	}
	return classifyStatus(err)
}

// classifyText recognises conditions that engines report with whatever status.
func classifyText(text string) (verdict, bool) {
	switch {
	case strings.Contains(text, "no space left on device"):
		return verdict{ErrNoSpace, api.Waiting, api.ReasonDiskFull}, true
	case strings.Contains(text, "port is already allocated"), strings.Contains(text, "address already in use"),
		strings.Contains(text, "failed to bind host port"):
		return verdict{ErrConflict, api.Waiting, api.ReasonPortConflict}, true
	case strings.Contains(text, "bind source path does not exist"):
		return verdict{ErrInvalid, api.Waiting, api.ReasonMountMissing}, true
	}
	return verdict{}, false
}

func classifyStatus(err error) verdict {
	switch {
	case cerrdefs.IsNotFound(err):
		return verdict{ErrNotFound, api.Transient, api.ReasonEngineFailed}
	case cerrdefs.IsConflict(err), cerrdefs.IsAlreadyExists(err):
		return verdict{ErrConflict, api.Transient, api.ReasonEngineFailed}
	case cerrdefs.IsInvalidArgument(err):
		return verdict{ErrInvalid, api.Terminal, api.ReasonEngineFailed}
	case cerrdefs.IsUnauthorized(err):
		return verdict{ErrDenied, api.Waiting, api.ReasonEngineFailed}
	case cerrdefs.IsPermissionDenied(err):
		return classifyForbidden(err)
	}
	return verdict{nil, api.Transient, api.ReasonEngineFailed}
}

// classifyForbidden reads HTTP 403, which engines use both for authorisation and for
// requests that are against their rules (removing a predefined network, a network with
// endpoints, a second container on the host network).
func classifyForbidden(err error) verdict {
	if strings.Contains(err.Error(), "active endpoints") || strings.Contains(err.Error(), "already exists in network") {
		return verdict{ErrConflict, api.Transient, api.ReasonEngineFailed}
	}
	return verdict{ErrInvalid, api.Terminal, api.ReasonEngineFailed}
}

// isUnreachable recognises that no engine answered, or that it went away while answering.
func isUnreachable(err error) bool {
	if client.IsErrConnectionFailed(err) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return !errors.Is(err, errBody)
	}
	if strings.HasSuffix(err.Error(), io.ErrUnexpectedEOF.Error()) {
		// The client's Info loses the cause.
		return true
	}
	_, network := errors.AsType[*net.OpError](err)
	return network || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
