package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
)

// httpsDialer opens sessions over https. Connections are kept between two polls.
type httpsDialer struct {
	auth  HTTPAuth
	ep    transport.Endpoint
	limit int64

	base *http.Transport
	// ca is the CA file's content that base trusts.
	ca []byte
}

func newHTTPSDialer(cfg GitConfig, ep *transport.Endpoint) *httpsDialer {
	d := &httpsDialer{auth: cfg.HTTP, ep: *ep, limit: cfg.Limits.MaxTransferBytes + 1<<20}
	switch {
	case d.auth.Username != "":
	case ep.User != "":
		d.auth.Username = ep.User
	default:
		d.auth.Username = "git"
	}
	d.ep.User = ""
	return d
}

func (d *httpsDialer) dial(context.Context) (transport.UploadPackSession, []string, error) {
	client, auth, secrets, err := d.prepare()
	if err != nil {
		return nil, nil, err
	}
	ep := d.ep // the library changes it on redirects
	s, err := client.NewUploadPackSession(&ep, auth)
	return s, secrets, err
}

func (d *httpsDialer) dialPush(context.Context) (transport.ReceivePackSession, []string, error) {
	client, auth, secrets, err := d.prepare()
	if err != nil {
		return nil, nil, err
	}
	ep := d.ep
	s, err := client.NewReceivePackSession(&ep, auth)
	return s, secrets, err
}

// prepare reads token and CA file anew.
func (d *httpsDialer) prepare() (client transport.Transport, auth transport.AuthMethod, secrets []string, err error) {
	token, err := d.token()
	if err != nil {
		return nil, nil, nil, err
	}
	base, err := d.transport()
	if err != nil {
		return nil, nil, nil, err
	}
	if token != "" {
		basic := &githttp.BasicAuth{Username: d.auth.Username, Password: token}
		auth = basic
		secrets = []string{token, base64.StdEncoding.EncodeToString([]byte(basic.Username + ":" + token))}
	}
	bounded := &http.Client{Transport: checked{base: base, limit: d.limit}, CheckRedirect: sameHost}
	return githttp.NewClient(bounded), auth, secrets, nil
}

func (d *httpsDialer) token() (string, error) {
	var token string
	switch {
	case d.auth.Token != nil:
		t, err := d.auth.Token()
		if err != nil {
			return "", fail(ReasonAuthentication, "get token: %w", err)
		}
		token = t
	case d.auth.TokenFile != "":
		data, err := readSmall(d.auth.TokenFile)
		if err != nil {
			return "", fail(ReasonAuthentication, "read token: %w", err)
		}
		token = string(data)
	default:
		return "", nil
	}
	if token = strings.TrimSpace(token); token == "" {
		return "", fail(ReasonAuthentication, "the token is empty; put one in the token file")
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fail(ReasonAuthentication, "the token has a line break or another control character in it")
	}
	return token, nil
}

// transport returns the one that is in use, or a new one when the CA file has changed.
func (d *httpsDialer) transport() (*http.Transport, error) {
	var ca []byte
	if d.auth.CAFile != "" {
		var err error
		if ca, err = readSmall(d.auth.CAFile); err != nil {
			return nil, fail(ReasonInvalid, "read CA file: %w", err)
		}
	}
	if d.base != nil && string(ca) == string(d.ca) {
		return d.base, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without certificates
	}
	if len(ca) > 0 && !pool.AppendCertsFromPEM(ca) {
		return nil, fail(ReasonInvalid, "CA file %s holds no PEM certificate", d.auth.CAFile)
	}
	d.close()
	d.base = &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		TLSClientConfig:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
		MaxIdleConns:      2,
		IdleConnTimeout:   0, // until close: the next poll comes
	}
	d.ca = ca
	return d.base, nil
}

func (d *httpsDialer) close() {
	if d.base != nil {
		d.base.CloseIdleConnections()
	}
}

// sameHost allows what forges do when a repository is renamed, and nothing that leads elsewhere.
func sameHost(req *http.Request, via []*http.Request) error {
	if len(via) >= 5 || req.URL.Scheme != "https" || req.URL.Host != via[0].URL.Host {
		return fail(ReasonInvalid, "the server redirects to %s://%s; correct the configured URL", req.URL.Scheme, req.URL.Host)
	}
	return nil
}

// checked bounds answers, and never reads the text of a refusal: it may echo the request with its token.
type checked struct {
	base  http.RoundTripper
	limit int64
}

func (c checked) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := c.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= http.StatusBadRequest {
		_ = res.Body.Close()
		return nil, statusError(res.StatusCode)
	}
	limit := c.limit
	if strings.HasSuffix(req.URL.Path, "/info/refs") {
		limit = maxAdvertisement
	}
	res.Body = &boundedBody{ReadCloser: res.Body, left: limit}
	return res, nil
}

type statusError int

func (s statusError) Error() string {
	return fmt.Sprintf("the server answers %d %s", int(s), http.StatusText(int(s)))
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fail(ReasonTooLarge, "the server sends too much; is this the right repository? The limit is maxTransferBytes")
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func (d *httpsDialer) explain(err error) error {
	var status statusError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &status):
		return d.refused(status)
	case errors.As(err, &cert):
		return fail(ReasonCertificate, "the server's certificate is not trusted; set http.caFile if it comes from a CA of your own: %w", cert.Err)
	default:
		return fail(ReasonUnreachable, "check that the server is up and reachable: %w", err)
	}
}

func (d *httpsDialer) refused(status statusError) error {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		if d.auth.Token == nil && d.auth.TokenFile == "" {
			return fail(ReasonAuthentication, "%w and no token is configured; set http.tokenFile", status)
		}
		return fail(ReasonAuthentication, "%w; check that the token is right, has not expired and may read this repository", status)
	case http.StatusNotFound, http.StatusGone:
		return fail(ReasonRepositoryNotFound, "%w; check the URL, and that the token may read this repository", status)
	default:
		return fail(ReasonUnreachable, "%w", status)
	}
}
