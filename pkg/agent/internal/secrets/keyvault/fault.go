package keyvault

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
)

const defaultTimeout = 25 * time.Second

var errWrongAnswer = errors.New("another answer than Key Vault's")

func missing(err error) *secrets.Error {
	return &secrets.Error{Class: api.Waiting, Reason: api.ReasonSecretMissing, Err: err}
}

// failure says what went wrong in words of our own: texts of Azure's client quote what the
// server answered, and that may repeat values.
func (r *resolver) failure(ctx context.Context, s secret, err error) *secrets.Error {
	host := s.vault + "." + r.cfg.Domain
	down := func(class api.ErrorClass, text string) *secrets.Error {
		return &secrets.Error{
			Class: class, Reason: api.ReasonProviderDown, Err: fmt.Errorf("key vault %s %s: %w", host, text, secrets.ErrUnreachable),
		}
	}
	denied := func(text string) *secrets.Error {
		return &secrets.Error{
			Class: api.Waiting, Reason: api.ReasonProviderDenied, Err: fmt.Errorf("key vault %s: %s: %w", host, text, secrets.ErrDenied),
		}
	}
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	answered, isAnswer := errors.AsType[*azcore.ResponseError](err)
	_, noName := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &secrets.Error{Class: api.Transient, Reason: api.ReasonProviderDown, Err: context.Canceled}
	case errors.Is(err, errNoToken) && ctx.Err() == nil:
		return denied("Azure gives the agent no token: " + r.identity())
	case isAnswer:
		return r.answered(s, answered.StatusCode, down, denied)
	case errors.Is(err, errTooLarge):
		return down(api.Waiting, fmt.Sprintf("answers with more than %d bytes", maxAnswer))
	case errors.Is(err, context.DeadlineExceeded):
		return down(api.Transient, "does not answer in time")
	case noName:
		return down(api.Waiting, "has no address: is the vault's name right?")
	case errors.As(err, &authority) || errors.As(err, &hostname):
		return down(api.Waiting, "shows a certificate that is not trusted: does a proxy stand in between?")
	}
	return down(api.Transient, "can't be reached, or answers with something else than Key Vault does")
}

type because func(text string) *secrets.Error

// answered is the failure that a status stands for.
func (r *resolver) answered(s secret, status int, down func(api.ErrorClass, string) *secrets.Error, denied because) *secrets.Error {
	switch {
	case status == http.StatusNotFound && s.version != "":
		return missing(fmt.Errorf("the vault has no such secret, or not in this version: %w", secrets.ErrNotFound))
	case status == http.StatusNotFound:
		return missing(fmt.Errorf("the vault has no such secret: %w", secrets.ErrNotFound))
	case status == http.StatusUnauthorized:
		return denied("it refuses the agent's token (401): " + r.identity())
	case status == http.StatusForbidden:
		return denied("the agent's identity may not read this secret, or it is disabled (403): give it the role Key Vault Secrets User")
	case status >= 500 || status == http.StatusTooManyRequests:
		return down(api.Transient, fmt.Sprintf("answers with an error (%d)", status))
	case status >= 300 && status < 400:
		return down(api.Waiting, fmt.Sprintf("answers with a redirect (%d), which is not followed", status))
	}
	return down(api.Waiting, fmt.Sprintf("does not accept the request (%d)", status))
}

// identity says what to look at when there is no token.
func (r *resolver) identity() string {
	if r.cfg.Auth == Environment {
		return "check AZURE_TENANT_ID, AZURE_CLIENT_ID and the secret or certificate with them"
	}
	return "does this machine have a managed identity, and the one of clientID?"
}
