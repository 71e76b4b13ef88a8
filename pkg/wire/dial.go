package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	"ktrdr.io/fleet/pkg/wire/pki"
)

// Client says how a controller is reached.
type Client struct {
	// Target is host:port.
	Target string
	// Others are more of the same fleet, as host:port, which are asked in their order when those
	// before can't be reached. TLS then leaves ServerName empty: each has its own.
	Others []string
	// TLS is asked before each handshake, so that a renewed certificate is used as soon as
	// the connection is made again.
	TLS func() (*tls.Config, error)
	// Token is an operator's token, for who has no certificate; empty for none.
	Token string
	// Options are added to those of Dial and win over them.
	Options []grpc.DialOption
}

// Dial returns a connection that connects when it is used first, and again with a back-off
// of 0.5 to 30 s whenever it was lost. The caller closes it.
func Dial(c Client) (*grpc.ClientConn, error) {
	all := append([]string{c.Target}, c.Others...)
	for _, each := range all {
		if _, _, err := net.SplitHostPort(each); err != nil {
			return nil, fmt.Errorf("dial controller %q: write host:port: %w", each, err)
		}
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(freshTLS{config: c.TLS}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithStaticStreamWindowSize(window),
		grpc.WithStaticConnWindowSize(window),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pingTimeout, PermitWithoutStream: false}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: retryFirst, Multiplier: 1.6, Jitter: 0.3, MaxDelay: retryLast},
			MinConnectTimeout: dialTimeout,
		}),
		// Settings come from this program, not from DNS TXT records.
		grpc.WithDisableServiceConfig(),
	}
	if c.Token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(c.Token)))
	}
	target := "dns:///" + c.Target
	if len(c.Others) > 0 {
		listed := several(all)
		options = append(options, grpc.WithResolvers(listed))
		target = listed.Scheme() + ":///" + c.Target
	}
	conn, err := grpc.NewClient(target, append(options, c.Options...)...)
	if err != nil {
		return nil, fmt.Errorf("dial controller %s: %w", c.Target, err)
	}
	return conn, nil
}

// several is a list of controllers in the place of DNS.
func several(all []string) *manual.Resolver {
	listed := manual.NewBuilderWithScheme("controllers")
	var state resolver.State
	for _, each := range all {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: each, ServerName: each}}})
	}
	listed.InitialState(state)
	return listed
}

// Attentive is an option of a Client that notices within 25 s, not 45 s, that nobody answers any more:
// of operators, and between controllers, which answer operators.
func Attentive() grpc.DialOption {
	return grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: attentiveAfter, Timeout: attentiveTimeout, PermitWithoutStream: false})
}

// ClientTLS shows a certificate and trusts the authorities that came with it.
func ClientTLS(c *pki.Credentials) *tls.Config {
	config := TrustTLS(c.Authorities)
	config.Certificates = []tls.Certificate{c.Certificate}
	return config
}

// TrustTLS shows no certificate and trusts authorities.
func TrustTLS(authorities *x509.CertPool) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: authorities}
}

// freshTLS asks for its configuration before each handshake.
type freshTLS struct{ config func() (*tls.Config, error) }

// ClientHandshake does what gRPC's TLS credentials do, with the configuration of now, and sends
// small records.
func (f freshTLS) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config, err := f.config()
	if err != nil {
		return nil, nil, fmt.Errorf("prepare TLS: %w", err)
	}
	secured, info, err := credentials.NewTLS(config).ClientHandshake(ctx, authority, conn)
	if err != nil {
		return nil, nil, err
	}
	return smallRecords{secured}, info, nil
}

// ServerHandshake is an error: these are a client's.
func (freshTLS) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are for clients")
}

// Info describes the protocol.
func (freshTLS) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone returns the same: there is no state.
func (f freshTLS) Clone() credentials.TransportCredentials { return f }

// OverrideServerName is not supported: the name that is verified is the one that is dialled.
func (freshTLS) OverrideServerName(string) error {
	return errors.New("the name of the server can't be overridden")
}

// bearer sends an operator's token with each call, over TLS only.
type bearer string

// GetRequestMetadata returns the header.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity is always true.
func (bearer) RequireTransportSecurity() bool { return true }
