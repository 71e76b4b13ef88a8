package fleet_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"ktrdr.io/fleet/pkg/wire/pki"
	"ktrdr.io/fleet/test/lab"
)

// tap stands between all and the controller and keeps every byte that goes through, as it is
// inside of TLS. It can do so because the test has the keys of the authority and of the
// nodes; nobody else can.
type tap struct {
	controller string
	server     tls.Certificate
	roots      *x509.CertPool
	// known are the certificates of nodes, by their bytes.
	known map[string]tls.Certificate

	mu     sync.Mutex
	talks  []*talk
	failed []error
}

// talk is one connection. Its buffers are the tap's to lock.
type talk struct {
	// who is ktrdr://node/a, or "token" for who has no certificate.
	who, protocol string
	to, from      bytes.Buffer // the controller
}

// startTap listens in the place of the controller until the test ends.
func startTap(t *testing.T, f *fleet) *tap {
	t.Helper()
	authority := f.authority(t)
	server, err := authority.IssueServer([]string{"controller.lab"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{
		controller: net.JoinHostPort(f.controller.Address, "8443"), server: server, roots: authority.Pool(),
		known: map[string]tls.Certificate{},
	}
	for _, n := range f.nodes {
		who := n.identity(t).Certificate
		p.known[string(who.Certificate[0])] = who
	}
	listener, err := world.network.ListenOn("8443")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := contextFor(time.Hour)
	var all sync.WaitGroup
	all.Go(func() { p.serve(ctx, listener, &all) })
	f.nameController(t, lab.Address)
	t.Cleanup(func() {
		f.nameController(t, f.controller.Address)
		cancel()
		_ = listener.Close()
		all.Wait()
		if len(p.failed) > 0 {
			t.Logf("the tap could not pass on: %v", errors.Join(p.failed...))
		}
	})
	return p
}

func (f *fleet) nameController(t *testing.T, address string) {
	t.Helper()
	to, err := netip.ParseAddr(address)
	if err != nil {
		t.Fatal(err)
	}
	world.network.Name("controller.lab", to)
}

func (p *tap) serve(ctx context.Context, listener net.Listener, all *sync.WaitGroup) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		all.Go(func() {
			if err := p.pass(ctx, conn); err != nil {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.failed = append(p.failed, err)
			}
		})
	}
}

// pass speaks TLS to both sides, as each of them wants it.
func (p *tap) pass(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer conn.Close() //nolint:errcheck // ended
	var protocols []string
	client := tls.Server(conn, &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			protocols = hello.SupportedProtos
			chosen := "http/1.1"
			if len(protocols) == 1 {
				chosen = protocols[0]
			}
			return &tls.Config{
				MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{p.server}, ClientAuth: tls.RequestClientCert, NextProtos: []string{chosen},
			}, nil
		},
	})
	if err := client.HandshakeContext(ctx); err != nil {
		return err
	}
	kept, upstream := &talk{who: "token", protocol: client.ConnectionState().NegotiatedProtocol}, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: p.roots, ServerName: "controller.lab", NextProtos: protocols}
	if peers := client.ConnectionState().PeerCertificates; len(peers) > 0 {
		upstream.Certificates = []tls.Certificate{p.known[string(peers[0].Raw)]}
		if uris := peers[0].URIs; len(uris) == 1 {
			kept.who = uris[0].String()
		}
	}
	raw, err := world.network.DialContext(ctx, "tcp", p.controller)
	if err != nil {
		return err
	}
	defer raw.Close() //nolint:errcheck // ended
	server := tls.Client(raw, upstream)
	if err := server.HandshakeContext(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	p.talks = append(p.talks, kept)
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.copy(server, client, &kept.to); _ = raw.Close() })
	both.Go(func() { p.copy(client, server, &kept.from); _ = conn.Close() })
	both.Wait()
	return nil
}

func (p *tap) copy(to io.Writer, from io.Reader, kept *bytes.Buffer) {
	for buffer := make([]byte, 1<<15); ; {
		n, err := from.Read(buffer)
		p.mu.Lock()
		kept.Write(buffer[:n])
		p.mu.Unlock()
		if err != nil {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// said is all that went both ways, by who spoke with the controller: bodies of gRPC messages
// and headers put together from their frames, all else as it is.
func (p *tap) said() (map[string]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[string]string{}
	var errs []error
	for _, k := range p.talks {
		for way, kept := range map[string][]byte{"to": k.to.Bytes(), "from": k.from.Bytes()} {
			text := string(kept)
			if k.protocol == "h2" {
				joined, err := joinFrames(kept)
				if err != nil {
					errs = append(errs, fmt.Errorf("%s the controller, %s: %w", way, k.who, err))
				}
				text += joined
			}
			all[way+" the controller, "+k.who] += text
		}
	}
	return all, errors.Join(errs...)
}

// joinFrames puts together what HTTP/2 cut into frames, stream by stream. RFC 9113.
func joinFrames(kept []byte) (string, error) {
	reader := bytes.NewReader(bytes.TrimPrefix(kept, []byte(http2.ClientPreface)))
	framer := http2.NewFramer(io.Discard, reader)
	framer.SetMaxReadFrameSize(1<<24 - 1)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	streams := map[uint32]*strings.Builder{}
	var headers strings.Builder
	for {
		frame, err := framer.ReadFrame()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) { // a frame that was cut off
			break
		}
		if err != nil {
			return "", err
		}
		switch f := frame.(type) {
		case *http2.DataFrame:
			if streams[f.StreamID] == nil {
				streams[f.StreamID] = &strings.Builder{}
			}
			streams[f.StreamID].Write(f.Data())
		case *http2.MetaHeadersFrame:
			for _, field := range f.Fields {
				headers.WriteString(field.Name + ": " + field.Value + "\n")
			}
		}
	}
	for _, stream := range streams {
		headers.WriteString(stream.String())
	}
	return headers.String(), nil
}

// authority is the fleet's, with its key.
func (f *fleet) authority(t *testing.T) *pki.Authority {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"ca.crt", "ca.key"} {
		if err := copyFile(f.controller.Path(authorityDir+"/"+name), dir+"/"+name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	authority, err := pki.Load(dir+"/ca.crt", dir+"/ca.key")
	if err != nil {
		t.Fatal(err)
	}
	return authority
}
