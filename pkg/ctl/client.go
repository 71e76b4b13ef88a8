package ctl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 32 << 20

// client asks one agent.
type client struct {
	address string // as the user wrote it
	base    string
	http    *http.Client
	timeout time.Duration
}

// newClient connects nothing yet.
func newClient(address string, timeout time.Duration) (*client, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("--agent %q: write unix:///path or http://host:port", address)
	}
	c := &client{address: address, timeout: timeout}
	transport := &http.Transport{Proxy: nil, MaxIdleConns: 2}
	switch {
	case u.Scheme == "unix" && u.Host == "" && filepath.IsAbs(u.Path):
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", u.Path)
		}
		c.base = "http://localhost"
	case u.Scheme == "http" && u.Host != "" && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.User == nil:
		c.base = "http://" + u.Host
	default:
		return nil, fmt.Errorf("--agent %q: write unix:///path or http://host:port", address)
	}
	c.http = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// request is one question to the agent.
type request struct {
	method, path string
	query        url.Values
	contentType  string
	body         []byte
	// patience is added to the time limit, for answers that take their time.
	patience time.Duration
}

// do sends a request and decodes the answer into out. Errors are *unreachableError or
// *refusedError, or say what is wrong with the answer.
func (c *client) do(ctx context.Context, req request, out any) error {
	answer, err := c.read(ctx, req)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s answers %s with something else than an agent does: is it one?", c.address, req.path)
	}
	return nil
}

// read sends a request and returns the answer.
func (c *client) read(ctx context.Context, req request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout+req.patience)
	defer cancel()
	body, err := c.stream(ctx, req)
	if err != nil {
		return nil, err
	}
	defer body.Close() //nolint:errcheck // a body that was read
	answer, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if len(answer) > maxAnswer {
		return nil, fmt.Errorf("the answer of %s has more than %d bytes", c.address, maxAnswer)
	}
	return answer, nil
}

// stream sends a request and returns the body of the answer, which the caller closes. There
// is no time limit but that of ctx.
func (c *client) stream(ctx context.Context, req request) (io.ReadCloser, error) {
	target := c.base + req.path
	if len(req.query) > 0 {
		target += "?" + req.query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, req.method, target, bytes.NewReader(req.body))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.address, err)
	}
	if req.contentType != "" {
		r.Header.Set("Content-Type", req.contentType)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode < 300 {
		return resp.Body, nil
	}
	defer resp.Body.Close() //nolint:errcheck // a body that was read
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	return nil, c.refused(resp.StatusCode, answer)
}

// maxRefusal bounds what is read of an answer that is no success, in bytes.
const maxRefusal = 1 << 20

// refusedError is an answer that is no success.
type refusedError struct {
	Text   string `json:"error"`
	Reason string `json:"reason"`
	Field  string `json:"field"`
}

// Error says what the agent said, with the field that it is about.
func (e *refusedError) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Text
	}
	return e.Text
}

func (c *client) refused(status int, answer []byte) error {
	var e refusedError
	if json.Unmarshal(answer, &e) != nil || e.Text == "" {
		return fmt.Errorf("%s answers %d %s and not as an agent does: is it one?", c.address, status, http.StatusText(status))
	}
	return &e
}

func (c *client) status(ctx context.Context) (*api.NodeStatus, error) {
	var st api.NodeStatus
	if err := c.do(ctx, request{method: http.MethodGet, path: "/v1/status"}, &st); err != nil {
		return nil, err
	}
	return &st, nil
}

func (c *client) plans(ctx context.Context, stack string) ([]*plan.Plan, error) {
	req := request{method: http.MethodGet, path: "/v1/plan"}
	if stack != "" {
		req.query = url.Values{"stack": {stack}}
	}
	var plans []*plan.Plan
	err := c.do(ctx, req, &plans)
	return plans, err
}

// uploadPatience is what planning a tree may take beyond a usual request.
const uploadPatience = time.Minute

func (c *client) planTree(ctx context.Context, archive []byte) ([]*plan.Plan, error) {
	var plans []*plan.Plan
	err := c.do(ctx, request{
		method: http.MethodPost, path: "/v1/plan", contentType: "application/x-tar", body: archive, patience: uploadPatience,
	}, &plans)
	return plans, err
}

// post sends a JSON body; the answer has nothing that is needed.
func (c *client) post(ctx context.Context, path string, body any) error {
	req := request{method: http.MethodPost, path: path}
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		req.body, req.contentType = text, "application/json"
	}
	var ignored json.RawMessage
	return c.do(ctx, req, &ignored)
}

// unreachable explains why nobody answered, unless the user interrupted.
func (c *client) unreachable(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Canceled
	}
	return &unreachableError{address: c.address, timeout: c.timeout, cause: err}
}
