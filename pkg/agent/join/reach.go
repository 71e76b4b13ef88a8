package join

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// reach asks the controller for anything over HTTPS: that it answers, that it is of the
// fleet that the token pins, and what time it has.
func (r *run) reach(ctx context.Context) error {
	host, _, err := net.SplitHostPort(r.target)
	if err != nil {
		return err
	}
	transport := &http.Transport{TLSClientConfig: pki.TLSForJoin(r.token, host), DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport: transport, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+r.target+"/healthz", nil)
	if err != nil {
		return fmt.Errorf("controller %s: %w", r.target, err)
	}
	began := time.Now()
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("%s: %w", whatToDo(err.Error()), err)
	}
	_ = answer.Body.Close()
	r.say("the controller %s answers and is the one that the token names", r.target)
	theirs, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return nil //nolint:nilerr // it does not tell its time, which the handshake has bounded
	}
	now := began.Add(time.Since(began) / 2)
	if skew := theirs.Sub(now).Round(time.Second); skew.Abs() > maxSkew {
		return fmt.Errorf("the controller's clock is %s from this machine's (%s here); set the wrong one right first (timedatectl; an LXC has the clock of its host)",
			skew, now.UTC().Format(time.RFC3339))
	}
	r.say("the clocks agree")
	return nil
}

func whatToDo(text string) string {
	switch {
	case strings.Contains(text, "has expired or is not yet valid"):
		return "the clock of this machine or of the controller is wrong (timedatectl)"
	case strings.Contains(text, "the token is of another fleet"), strings.Contains(text, "certificate"):
		return "what answers is not the controller that made the token"
	}
	return "the controller can't be reached; check its address, the network and the firewall in between"
}

// accepted tells whether the controller takes the certificate for this node's: one of a node
// that was removed is good by itself. Only a clear no counts as one.
func (r *run) accepted(ctx context.Context, c *pki.Credentials) bool {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	conn, err := wire.Dial(wire.Client{Target: r.target, TLS: func() (*tls.Config, error) { return wire.ClientTLS(c), nil }})
	if err != nil {
		return true
	}
	defer conn.Close() //nolint:errcheck // one call was made
	got, err := ktrdrv1.NewAccessServiceClient(conn).WhoAmI(ctx, &ktrdrv1.WhoAmIRequest{})
	switch status.Code(err) { //nolint:exhaustive // every other code is no answer to the question
	case codes.OK:
		return got.GetKind() == "node" && got.GetName() == r.token.Node
	case codes.Unauthenticated, codes.PermissionDenied:
		return false
	}
	return true
}
