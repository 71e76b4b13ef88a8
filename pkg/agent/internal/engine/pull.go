package engine

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ktrdr.io/fleet/pkg/api"
)

// Pull fetches an image. It has no limit in all, but ends with ErrTimeout when the
// engine reports no progress for Config.PullIdle. The credentials travel in a header of
// this one request; the engine does not keep them. ErrNotFound says that the registry
// has no such image, ErrDenied that it refused the credentials; every other failure of
// the registry or the network is Transient. Engine API: POST /images/create.
func (c *Client) Pull(ctx context.Context, req PullRequest) error {
	what := call{op: "pull image", object: req.Ref, secrets: []string{req.Password}}
	idleCtx, touch, cancel := waitIdle(ctx, c.cfg.PullIdle)
	defer cancel()
	var failure error
	err := c.do(idleCtx, what, func(ctx context.Context, s *session) error {
		failure = s.pull(ctx, req, touch)
		if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			return context.DeadlineExceeded
		}
		return failure
	})
	if err == nil {
		return nil
	}
	return pullFailure(err, failure)
}

func (s *session) pull(ctx context.Context, req PullRequest, touch func()) error {
	platform, err := parsePlatform(req.Platform)
	if err != nil {
		return err
	}
	auth, err := registryAuth(req)
	if err != nil {
		return err
	}
	options := client.ImagePullOptions{RegistryAuth: auth}
	if platform != nil {
		options.Platforms = []ocispec.Platform{*platform}
	}
	stream, err := s.cli.ImagePull(ctx, req.Ref, options)
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // the stream was read to its end or has failed
	for message, err := range stream.JSONMessages(ctx) {
		if err != nil {
			return err
		}
		if message.Error != nil {
			return errors.New(message.Error.Message)
		}
		touch()
	}
	return nil
}

// registryAuth encodes the credentials as X-Registry-Auth wants them: padded, URL-safe
// base64 of JSON. Engines before 24 refuse it without padding.
func registryAuth(req PullRequest) (string, error) {
	if req.Username == "" && req.Password == "" {
		return "", nil
	}
	named, err := reference.ParseNormalizedNamed(req.Ref)
	if err != nil {
		return "", invalidf("image reference %q: %w", req.Ref, err)
	}
	server := reference.Domain(named)
	if server == "docker.io" {
		server = "https://index.docker.io/v1/"
	}
	data, err := json.Marshal(registry.AuthConfig{Username: req.Username, Password: req.Password, ServerAddress: server}) //nolint:gosec // the header is what credentials are for
	if err != nil {
		return "", err
	}
	return base64.URLEncoding.EncodeToString(data), nil
}

// pullFailure reads the registry's answer out of the engine's words: engines report
// refused credentials with HTTP 404 (Docker Hub), 500 (other registries) or inside the
// stream of a 200.
func pullFailure(err, cause error) error {
	failure, ok := errors.AsType[*Error](err)
	if !ok || cause == nil || failure.Reason == api.ReasonUnsupported {
		return err
	}
	for _, sentinel := range []error{ErrUnreachable, ErrTimeout, ErrNoSpace, context.Canceled} {
		if errors.Is(failure, sentinel) {
			return err
		}
	}
	text := strings.ToLower(failure.Err.Error())
	// The sentinels of classifyStatus are read from the status, which misleads here.
	detail := failure.Err
	if wrapped := errors.Unwrap(detail); wrapped != nil {
		detail = errors.New(strings.TrimPrefix(detail.Error(), wrapped.Error()+": "))
	}
	switch {
	case containsAny(text, "unauthorized", "denied", "no basic auth credentials", "authentication required", "incorrect username or password"):
		failure.Class, failure.Reason = api.Waiting, api.ReasonImageDenied
		failure.Err = &withSentinel{ErrDenied, detail}
	// The codes in capitals come from registries that don't declare their answer as JSON:
	// engines from 23 on then quote it.
	case containsAny(text, "manifest unknown", "manifest_unknown", "not found", "no matching manifest", "repository name not known", "name unknown", "name_unknown") &&
		!containsAny(text, "no such host", "dial tcp"):
		// It may be there in a minute: a tag is often deployed before its build has ended.
		failure.Class, failure.Reason = api.Waiting, api.ReasonImageMissing
		failure.Err = &withSentinel{ErrNotFound, detail}
	case errors.Is(failure, ErrInvalid) || cerrdefs.IsInvalidArgument(cause):
		failure.Class, failure.Reason = api.Terminal, api.ReasonInvalid
	default:
		failure.Class, failure.Reason = api.Transient, api.ReasonImagePull
		failure.Err = detail
	}
	return failure
}

// withSentinel gives an error a class to ask for, and the engine's own words.
type withSentinel struct{ sentinel, detail error }

func (e *withSentinel) Error() string   { return e.sentinel.Error() + ": " + e.detail.Error() }
func (e *withSentinel) Unwrap() []error { return []error{e.sentinel, e.detail} }

func containsAny(text string, parts ...string) bool {
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
