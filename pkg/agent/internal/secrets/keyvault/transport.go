package keyvault

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// maxAnswer bounds the body of an answer, in bytes. A secret has 25 kB at most.
const maxAnswer = 1 << 20

var errTooLarge = errors.New("more than it should be")

// transport counts requests to vaults, and bounds what comes back.
type transport struct {
	next         policy.Transporter
	sent, failed atomic.Uint64
}

// newHTTP is the client of all requests that leave the machine. Proxies of the environment
// are used: everything but the local identity endpoint goes through TLS.
func newHTTP() policy.Transporter {
	return &http.Client{
		// A redirect would carry the token to wherever the answer says.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
			MaxResponseHeaderBytes: 64 << 10, MaxIdleConnsPerHost: parallel, IdleConnTimeout: 5 * time.Minute, ForceAttemptHTTP2: true,
		},
	}
}

// Do implements policy.Transporter.
func (t *transport) Do(req *http.Request) (*http.Response, error) {
	t.sent.Add(1)
	res, err := t.next.Do(req)
	// 401 is the challenge that the first request to a vault asks for.
	if err != nil || res.StatusCode != http.StatusOK && res.StatusCode != http.StatusUnauthorized {
		t.failed.Add(1)
	}
	if err == nil {
		res.Body = &bounded{res.Body, maxAnswer}
	}
	return res, err
}

// bounded is a body that fails beyond a size.
type bounded struct {
	io.ReadCloser
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}
