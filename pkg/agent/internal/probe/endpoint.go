package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

const defaultCheckTimeout = 3 * time.Second

// ErrNotHealthy wraps every failure of Check that is the endpoint's; ErrNoProbe says that the
// probe asks for nothing that Check can do.
var (
	ErrNotHealthy = errors.New("not healthy")
	ErrNoProbe    = errors.New("neither an http nor a tcp probe")
)

// Check runs an HTTP or TCP probe once against addr ("host:port"), within the probe's
// Timeout (3 s when 0). HTTP is healthy on 2xx and 3xx; redirects are not followed, the
// body is not read, proxies and the environment don't count, and a certificate is not
// verified, because containers are reached by address. The connection is closed. Errors
// hold no content of an answer.
func Check(ctx context.Context, addr string, p api.Probe) error {
	timeout := p.Timeout
	if timeout <= 0 {
		timeout = defaultCheckTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case p.HTTP != nil:
		return checkHTTP(ctx, addr, *p.HTTP)
	case p.TCP != nil:
		return checkTCP(ctx, addr)
	}
	return ErrNoProbe
}

func checkTCP(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("connect to %s: %w: %w", addr, ErrNotHealthy, short(err))
	}
	_ = conn.Close()
	return nil
}

func checkHTTP(ctx context.Context, addr string, p api.HTTPProbe) error {
	target, err := address(addr, p)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return fmt.Errorf("probe %s: %w", addr, err)
	}
	req.Header.Set("User-Agent", "ktrdr-agent/"+api.Version)
	transport := &http.Transport{
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // as kubelet: the name in the certificate is not the address
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("GET %s: %w: %w", withoutQuery(target), ErrNotHealthy, short(err))
	}
	_ = res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 399 {
		return fmt.Errorf("GET %s: %w: status %d", withoutQuery(target), ErrNotHealthy, res.StatusCode)
	}
	return nil
}

// address puts the URL together; the path may carry a query but never another host.
func address(addr string, p api.HTTPProbe) (string, error) {
	scheme := strings.ToLower(p.Scheme)
	if scheme == "" {
		scheme = "http"
	}
	if scheme != "http" && scheme != "https" {
		return "", fmt.Errorf("probe %s: scheme %q is neither http nor https", addr, p.Scheme)
	}
	at, query, _ := strings.Cut(p.Path, "?")
	at, err := url.PathUnescape("/" + strings.TrimLeft(at, "/"))
	if err != nil {
		return "", fmt.Errorf("probe %s: path %q: %w", addr, p.Path, err)
	}
	return (&url.URL{Scheme: scheme, Host: addr, Path: at, RawQuery: query}).String(), nil
}

// withoutQuery: a query may carry a token.
func withoutQuery(target string) string {
	before, _, _ := strings.Cut(target, "?")
	return before
}

// short drops the wrapping that repeats the address.
func short(err error) error {
	if request, found := errors.AsType[*url.Error](err); found {
		err = request.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return context.DeadlineExceeded
	}
	if op, found := errors.AsType[*net.OpError](err); found {
		return op.Err
	}
	return err
}
