package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	protoHTTP1 = "http/1.1"
	protoHTTP2 = "h2"
)

// Port is one listener for gRPC and HTTP/1.1. It does the TLS handshake and looks at what
// the peer offers: who offers h2 only, as gRPC's clients do, comes out at GRPC; all
// others (git, curl, Prometheus, browsers) come out at HTTP. Both give *tls.Conn with the
// handshake done.
type Port struct {
	listener net.Listener
	config   *tls.Config
	limits   PortLimits
	door     *door
	grpc     *side
	http     *side
}

// NewPort takes over a listener. Nothing is accepted before Serve.
func NewPort(l net.Listener, identity *ServerIdentity, limits PortLimits) *Port {
	return &Port{
		listener: l, config: identity.Config(), limits: limits, door: newDoor(limits),
		grpc: newSide(l.Addr()), http: newSide(l.Addr()),
	}
}

// GRPC gives connections for a grpc.Server with ServerOptions.
func (p *Port) GRPC() net.Listener { return p.grpc }

// HTTP gives connections for an http.Server.
func (p *Port) HTTP() net.Listener { return p.http }

// Addr is where the port listens.
func (p *Port) Addr() net.Addr { return p.listener.Addr() }

// Serve accepts until ctx ends, which is no error, or the listener fails. It closes the
// listener and both sides, and waits for handshakes under way. Connections that were
// handed over stay open.
func (p *Port) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var handshakes sync.WaitGroup
	defer handshakes.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = p.listener.Close() })
	defer stop()
	defer p.grpc.end()
	defer p.http.end()
	for {
		conn, err := accept(ctx, p.listener)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return errors.Join(fmt.Errorf("accept on %s: %w", p.Addr(), err), p.listener.Close())
		}
		guest, ok := p.door.enter(conn)
		if !ok {
			_ = conn.Close()
			continue
		}
		handshakes.Go(func() { p.receive(ctx, guest) })
	}
}

// accept tries again when the process has too many open files, as net/http does.
func accept(ctx context.Context, l net.Listener) (net.Conn, error) {
	const first, last = 5 * time.Millisecond, time.Second
	for pause := first; ; pause = min(2*pause, last) {
		conn, err := l.Accept()
		var temporary interface{ Temporary() bool }
		if err == nil || !errors.As(err, &temporary) || !temporary.Temporary() {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// receive does the handshake and hands the connection over. What strangers do wrong is
// theirs to see: nothing is logged.
func (p *Port) receive(ctx context.Context, g *guest) {
	conn := tls.Server(g, p.config)
	if !p.handshake(ctx, conn) {
		_ = g.Close()
		return
	}
	state := conn.ConnectionState()
	enter := g.admit
	if len(state.VerifiedChains) > 0 {
		enter = g.prove
	}
	if !enter() {
		_ = g.Close()
		return
	}
	to := p.http
	if state.NegotiatedProtocol == protoHTTP2 {
		to = p.grpc
	}
	if !to.give(ctx, conn) {
		_ = g.Close()
	}
}

func (p *Port) handshake(ctx context.Context, conn *tls.Conn) bool {
	ctx, cancel := context.WithTimeout(ctx, p.limits.Handshake)
	defer cancel()
	err := conn.HandshakeContext(ctx)
	if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil && isHTTP(plain.RecordHeader) {
		_ = plain.Conn.SetWriteDeadline(time.Now().Add(time.Second)) // who does not read has no answer
		_, _ = io.WriteString(plain.Conn, speaksTLS)
	}
	return err == nil
}

// speaksTLS is what somebody is told who writes http:// for https://; as net/http does it.
const speaksTLS = "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\nthis port speaks https only: write https://\n"

// isHTTP tells whether what should be the head of a TLS record is that of a request.
func isHTTP(head [5]byte) bool {
	return slices.Contains([]string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PATCH", "DELET"}, string(head[:]))
}

// side is one of the two listeners.
type side struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	end   func()
}

func newSide(addr net.Addr) *side {
	s := &side{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
	s.end = sync.OnceFunc(func() { close(s.done) })
	return s
}

// give waits until somebody accepts; it tells whether somebody did.
func (s *side) give(ctx context.Context, conn net.Conn) bool {
	select {
	case s.conns <- conn:
		return true
	case <-s.done:
	case <-ctx.Done():
	}
	return false
}

// Accept waits for a connection.
func (s *side) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conns:
		return conn, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close ends this side only.
func (s *side) Close() error {
	s.end()
	return nil
}

// Addr is the address of the port.
func (s *side) Addr() net.Addr { return s.addr }
