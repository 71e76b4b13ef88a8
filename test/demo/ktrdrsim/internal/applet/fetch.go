package applet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// request is what curl and wget boil down to here.
type request struct {
	url, method, data string
	failOnStatus      bool
	drop              bool
	limit             time.Duration
}

// Exit codes of curl and wget.
const (
	curlConnect = 7
	curlStatus  = 22
	curlTimeout = 28
	wgetNetwork = 4
	wgetStatus  = 8
)

var errHTTPStatus = errors.New("the requested URL returned an error")

// curl knows -f -s -S -L, alone or joined, -X METHOD, -d DATA, -m SECONDS, --max-time SECONDS, -H HEADER (JSON bodies
// only) and -o FILE (dropped).
func curl(ctx context.Context, p Process, args []string) int {
	req, err := curlRequest(args)
	if err != nil {
		return p.fail(exitUsage, fmt.Errorf("curl: %w", err))
	}
	err = fetch(ctx, p, req)
	code := curlConnect
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errHTTPStatus):
		code = curlStatus
	case errors.Is(err, context.DeadlineExceeded):
		code = curlTimeout
	}
	return p.fail(code, fmt.Errorf("curl: %w", err))
}

func curlRequest(args []string) (request, error) {
	req := request{method: http.MethodGet, limit: time.Minute}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if !strings.HasPrefix(arg, "-") {
			req.url = arg
			continue
		}
		if strings.Trim(arg[1:], "fsSL") == "" && len(arg) > 1 {
			req.failOnStatus = req.failOnStatus || strings.Contains(arg, "f")
			continue
		}
		if arg == "--fail" || arg == "--silent" {
			req.failOnStatus = req.failOnStatus || arg == "--fail"
			continue
		}
		i++
		if i == len(args) {
			return req, fmt.Errorf("option %s is not known or lacks its value", arg)
		}
		if err := req.option(arg, args[i]); err != nil {
			return req, err
		}
	}
	if req.url == "" {
		return req, errors.New("no URL given")
	}
	return req, nil
}

func (r *request) option(name, value string) error {
	switch name {
	case "-X", "--request":
		r.method = value
	case "-d", "--data":
		r.data = value
		if r.method == http.MethodGet {
			r.method = http.MethodPost
		}
	case "-o", "--output":
		r.drop = true
	case "-H", "--header":
	case "-m", "--max-time", "--connect-timeout":
		limit, err := seconds(value)
		if err != nil {
			return err
		}
		r.limit = limit
	default:
		return fmt.Errorf("option %s is not known", name)
	}
	return nil
}

// wget knows --spider, -q, --quiet, -O - and -qO-.
func wget(ctx context.Context, p Process, args []string) int {
	req := request{method: http.MethodGet, failOnStatus: true, limit: time.Minute}
	for _, arg := range args {
		switch arg {
		case "--spider":
			req.drop = true
		case "-q", "--quiet", "-O", "-", "-qO-", "-O-":
		default:
			if strings.HasPrefix(arg, "-") {
				return p.fail(exitUsage, fmt.Errorf("wget: option %s is not known", arg))
			}
			req.url = arg
		}
	}
	err := fetch(ctx, p, req)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errHTTPStatus):
		return p.fail(wgetStatus, fmt.Errorf("wget: %w", err))
	default:
		return p.fail(wgetNetwork, fmt.Errorf("wget: %w", err))
	}
}

func fetch(ctx context.Context, p Process, req request) error {
	ctx, cancel := context.WithTimeout(ctx, req.limit)
	defer cancel()
	url := req.url
	if !strings.Contains(url, "://") {
		url = "http://" + url
	}
	r, err := http.NewRequestWithContext(ctx, req.method, url, strings.NewReader(req.data))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if req.failOnStatus && resp.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%w: %d", errHTTPStatus, resp.StatusCode)
	}
	out := p.Stdout
	if req.drop {
		out = io.Discard
	}
	_, err = io.Copy(out, resp.Body)
	return err
}
