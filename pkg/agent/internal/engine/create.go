package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"unicode/utf8"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errhttp"
	"github.com/moby/moby/api/types/common"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"ktrdr.io/fleet/pkg/api"
)

// createBody is the request of container create. MacAddress is what engines before API
// 1.44 have instead of a MAC address per endpoint; the client's types left it behind.
type createBody struct {
	container.CreateRequest
	MacAddress string `json:",omitempty"`
}

// Create makes a container and returns its id; it does not start it. The request is what
// docker compose 5.x would send (docs/compose-differences.md). On engines before API
// 1.44 a container is created with its first network and connected to the others; when
// that fails it is removed again.
//
// ErrConflict with ReasonNameConflict names the container that holds the name,
// ErrNotFound with ReasonImageMissing says that the image is not local, ErrInvalid with
// ReasonUnsupported that the engine is too old for an attribute.
// Engine API: POST /containers/create, POST /networks/{name}/connect.
func (c *Client) Create(ctx context.Context, req CreateRequest) (string, error) {
	var id string
	what := call{op: "create container", object: req.Name, limit: c.cfg.Change, secrets: secretValues(req.Spec)}
	err := c.do(ctx, what, func(ctx context.Context, s *session) error {
		if err := checkSupport(s, req.Spec); err != nil {
			return err
		}
		if err := req.checkResolved(); err != nil {
			return err
		}
		body, err := createRequest(s, req)
		if err != nil {
			return err
		}
		query, err := createQuery(req)
		if err != nil {
			return err
		}
		if id, err = c.postCreate(ctx, s, query, body); err != nil {
			return s.createFailure(ctx, what, req, err)
		}
		return c.connectOthers(ctx, s, id, req.Spec)
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

func createQuery(req CreateRequest) (url.Values, error) {
	query := url.Values{}
	if req.Name != "" {
		query.Set("name", req.Name)
	}
	platform, err := parsePlatform(req.Spec.Platform)
	if platform != nil {
		query.Set("platform", path.Join(platform.OS, platform.Architecture, platform.Variant))
	}
	return query, err
}

func (c *Client) postCreate(ctx context.Context, s *session, query url.Values, body createBody) (string, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	resp, err := c.post(ctx, s, "/containers/create?"+query.Encode(), data)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	var created container.CreateResponse
	if err := json.NewDecoder(resp.Body).Decode(&created); err != nil {
		return "", err
	}
	if created.ID == "" {
		return "", errors.New("the engine told no container id")
	}
	return created.ID, nil
}

// checkResolved refuses references where nobody fills them in.
func (r CreateRequest) checkResolved() error {
	if r.References {
		r.Spec.Env, r.Spec.Healthcheck = nil, nil
	}
	r.Spec.Files = nil // checked when they are copied
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return checkResolved(data)
}

// checkResolved refuses to send a secret reference in place of a value.
func checkResolved(data []byte) error {
	if mark, _ := utf8.DecodeRuneInString(api.Placeholder("")); bytes.ContainsRune(data, mark) {
		return invalidf("a secret reference was not replaced by its value")
	}
	return nil
}

// connectOthers attaches the endpoints that engines before API 1.44 can't take at create.
func (c *Client) connectOthers(ctx context.Context, s *session, id string, spec api.ContainerSpec) error {
	if s.atLeast("1.44") || spec.NetworkMode != "" || len(spec.Endpoints) < 2 {
		return nil
	}
	for _, endpoint := range spec.Endpoints[1:] {
		settings, err := endpointSettings(s, endpoint, linksOf(spec))
		if err == nil {
			err = s.connect(ctx, endpoint.Network, id, settings)
		}
		if err != nil {
			c.discard(ctx, s, id)
			return err
		}
	}
	return nil
}

// discard removes a container that is only half made, even when the caller gave up.
func (c *Client) discard(ctx context.Context, s *session, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.Query)
	defer cancel()
	// A container left behind is found and repaired by its labels; the first error counts.
	_, _ = s.cli.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true})
}

func (s *session) createFailure(ctx context.Context, what call, req CreateRequest, err error) error {
	if cerrdefs.IsNotFound(err) && strings.Contains(strings.ToLower(err.Error()), "image") {
		return &Error{
			Op: what.op, Object: what.object, Class: api.Transient, Reason: api.ReasonImageMissing,
			Err: &withSentinel{ErrNotFound, errors.New("image " + req.Spec.Image + " is not local")},
		}
	}
	return s.nameConflict(ctx, what, req.Name, err)
}

// readRefusal reads an answer of 400 and above.
func readRefusal(resp *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	text := strings.TrimSpace(string(data))
	if mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); mediaType == "application/json" {
		var answer common.ErrorResponse
		if json.Unmarshal(data, &answer) == nil && answer.Message != "" {
			text = answer.Message
		}
	}
	if text == "" {
		text = "HTTP " + resp.Status
	}
	return &refusal{text: text, status: errhttp.ToNative(resp.StatusCode)}
}

// refusal is the engine's words with the class of its HTTP status.
type refusal struct {
	text   string
	status error
}

func (e *refusal) Error() string { return e.text }
func (e *refusal) Unwrap() error { return e.status }

// secretValues collects what may be secret in a request, so that an engine that quotes
// the request in its refusal does not put it into a log.
func secretValues(spec api.ContainerSpec) []string {
	secrets := envValues(spec.Env)
	if spec.Logging != nil {
		for _, value := range spec.Logging.Options {
			secrets = append(secrets, longValue(value))
		}
	}
	for _, words := range [][]string{spec.Command, spec.Entrypoint} {
		for _, word := range words {
			if _, value, ok := strings.Cut(word, "="); ok {
				secrets = append(secrets, longValue(value))
			}
		}
	}
	return secrets
}

func envValues(env []string) []string {
	var values []string
	for _, entry := range env {
		_, value, _ := strings.Cut(entry, "=")
		values = append(values, longValue(value))
	}
	return values
}

// longValue leaves out values so short that cutting them would garble the text.
func longValue(value string) string {
	if len(value) < 4 {
		return ""
	}
	return value
}
