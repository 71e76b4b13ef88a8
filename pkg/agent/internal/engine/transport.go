package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxMessage bounds one message of a stream of messages, in bytes.
const maxMessage = 1 << 20

// errBody is what a reader gets of an answer that is larger than Config.MaxBody.
var errBody = errors.New("answer is too large")

// transport carries requests to one engine whatever address they name, bounds the
// answers, and reports the engine's API version, which every answer carries.
type transport struct {
	base    *http.Transport
	host    string
	maxBody int64
	// sawVersion is called with the Api-Version header of each answer that has one.
	sawVersion func(version string)
}

func newTransport(network, address string, maxBody int64) *transport {
	dialer := &net.Dialer{KeepAlive: 30 * time.Second}
	return &transport{
		base: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, network, address)
			},
			DisableCompression:     true,
			MaxIdleConnsPerHost:    16,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 256 << 10,
		},
		host:    "engine",
		maxBody: maxBody,
	}
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host = "http", t.host
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if version := resp.Header.Get("Api-Version"); version != "" && t.sawVersion != nil {
		t.sawVersion(version)
	}
	switch {
	case resp.StatusCode < http.StatusBadRequest && isRaw(req):
		// Its reader counts.
	case resp.StatusCode < http.StatusBadRequest && isMessages(req):
		resp.Body = &messageBody{ReadCloser: resp.Body}
	default:
		resp.Body = &boundedBody{ReadCloser: resp.Body, left: t.maxBody, limit: t.maxBody}
	}
	return resp, nil
}

// isMessages tells the endless streams of JSON messages, one a line.
func isMessages(req *http.Request) bool {
	return strings.HasSuffix(req.URL.Path, "/events") || strings.HasSuffix(req.URL.Path, "/images/create")
}

// isRaw tells the streams of a process's output.
func isRaw(req *http.Request) bool {
	path := req.URL.Path
	return strings.HasSuffix(path, "/logs") || (strings.Contains(path, "/exec/") && strings.HasSuffix(path, "/start"))
}

// messageBody bounds each line of a stream instead of the whole.
type messageBody struct {
	io.ReadCloser
	line int
}

func (b *messageBody) Read(p []byte) (int, error) {
	if b.line > maxMessage {
		return 0, fmt.Errorf("%w: a message over %d bytes", errBody, maxMessage)
	}
	n, err := b.ReadCloser.Read(p)
	if last := bytes.LastIndexByte(p[:n], '\n'); last >= 0 {
		b.line = n - last - 1
	} else {
		b.line += n
	}
	return n, err
}

type boundedBody struct {
	io.ReadCloser
	left, limit int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("%w: over %d bytes", errBody, b.limit)
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}
