package connect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/1Password/connect-sdk-go/onepassword"

	"ktrdr.io/fleet/pkg/api"
)

// maxAnswer bounds the body of an answer, in bytes: a list of some ten thousand items.
const maxAnswer = 8 << 20

// client reads from one server. It is safe for concurrent use.
type client struct {
	base    *url.URL
	http    *http.Client
	tokens  *tokens
	agent   string
	timeout time.Duration
	retry   time.Duration

	failed, sent atomic.Uint64
}

func newClient(cfg *Config) (*client, error) {
	base, err := cfg.base()
	if err != nil {
		return nil, err
	}
	roots, err := authorities(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	return &client{
		base: base, tokens: newTokens(cfg.Token), timeout: orDefault(cfg.Timeout, 25*time.Second), retry: orDefault(cfg.Retry, 500*time.Millisecond),
		agent: fmt.Sprintf("ktrdr-agent/%s (node %s)", api.Version, printable(cfg.Node)),
		http: &http.Client{
			// A redirect would carry the token to wherever the answer says.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
				MaxResponseHeaderBytes: 64 << 10, MaxIdleConnsPerHost: parallel, IdleConnTimeout: 5 * time.Minute,
			},
		},
	}, nil
}

// authorities are the system's with those of a file; nil means the system's.
func authorities(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("caFile: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("caFile: %s holds no certificate in PEM form", path)
	}
	return pool, nil
}

func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || r == '(' || r == ')' {
			return '_'
		}
		return r
	}, name)
}

// vaults lists the vaults that the token may read.
func (c *client) vaults(ctx context.Context) ([]onepassword.Vault, error) {
	var list []onepassword.Vault
	err := c.get(ctx, &list, "vaults")
	return list, err
}

// listed is an item of a list. State is set for those that are archived or deleted.
type listed struct {
	onepassword.Item
	State string `json:"state"`
}

func (c *client) items(ctx context.Context, vault string) ([]listed, error) {
	var list []listed
	err := c.get(ctx, &list, "vaults", vault, "items")
	return list, err
}

func (c *client) item(ctx context.Context, vault, id string) (*onepassword.Item, error) {
	var it onepassword.Item
	if err := c.get(ctx, &it, "vaults", vault, "items", id); err != nil {
		return nil, err
	}
	if it.ID != id {
		return nil, newFault(c, wrongContent, 0)
	}
	return &it, nil
}

// content of a file. The path that the server gives for it is not used: it could lead anywhere.
func (c *client) content(ctx context.Context, vault, item, file string) ([]byte, error) {
	var data []byte
	err := c.get(ctx, &data, "vaults", vault, "items", item, "files", file, "content")
	return data, err
}

// get asks until it has an answer to believe: what may be a passing trouble of a server or
// of a proxy is asked again, up to twice.
func (c *client) get(ctx context.Context, into any, path ...string) error {
	target := c.base.JoinPath(append([]string{"v1"}, path...)...).String()
	for attempt := 1; ; attempt++ {
		err := c.once(ctx, target, into)
		if err == nil {
			return nil
		}
		if attempt >= err.kind.attempts() || ctx.Err() != nil {
			return err
		}
		pause := c.retry << (attempt - 1)
		timer := time.NewTimer(pause/2 + rand.N(pause)) //nolint:gosec // jitter is no secret
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

func (c *client) once(ctx context.Context, target string, into any) *fault {
	token, err := c.tokens.read()
	if err != nil {
		return &fault{kind: noToken, err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return newFault(c, broken, 0)
	}
	req.Header.Set("Authorization", "Bearer "+token.Open())
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("Accept", "application/json, application/octet-stream")
	c.sent.Add(1)
	failed := c.exchange(req, into)
	if failed != nil && ctx.Err() != nil {
		// Whatever came of it: what a server says when the client hangs up is no answer.
		failed = c.connection(ctx, ctx.Err())
	}
	if failed != nil {
		c.failed.Add(1)
	}
	return failed
}

func (c *client) exchange(req *http.Request, into any) *fault {
	res, err := c.http.Do(req)
	if err != nil {
		return c.connection(req.Context(), err)
	}
	defer res.Body.Close() //nolint:errcheck // nothing was written
	if res.StatusCode != http.StatusOK {
		return newFault(c, ofStatus(res.StatusCode), res.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return c.connection(req.Context(), err)
	case len(data) > maxAnswer:
		return newFault(c, tooLarge, 0)
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if file, ok := into.(*[]byte); ok {
		if kind == "text/html" && res.Header.Get("Content-Disposition") == "" {
			return newFault(c, wrongContent, 0)
		}
		*file = data
		return nil
	}
	// The error of the decoder would show what was read.
	if kind != "application/json" || json.Unmarshal(data, into) != nil {
		return newFault(c, wrongContent, 0)
	}
	return nil
}
