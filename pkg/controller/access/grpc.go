package access

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// ServerOptions put the guard before every method of a gRPC server. Nothing else may add
// interceptors before it.
func (g *Guard) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(g.unary), grpc.ChainStreamInterceptor(g.stream)}
}

func (g *Guard) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (resp any, err error) {
	c, err := g.admit(ctx, info.FullMethod)
	c.about(req)
	defer func() { g.finish(ctx, c, resultOf(err)) }()
	if err != nil {
		return nil, err
	}
	defer g.recovered(ctx, c, &err)
	resp, err = handler(context.WithValue(ctx, callKey{}, c), req)
	return resp, g.told(ctx, c, err)
}

func (g *Guard) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	c, err := g.admit(ss.Context(), info.FullMethod)
	defer func() { g.finish(ss.Context(), c, resultOf(err)) }()
	if err != nil {
		return err
	}
	defer g.recovered(ss.Context(), c, &err)
	ctx, end := g.streams.begin(ss.Context(), c, g.now())
	defer end()
	err = handler(srv, &guarded{ServerStream: ss, ctx: context.WithValue(ctx, callKey{}, c), call: c})
	if lost := new(lostError); errors.As(context.Cause(ctx), &lost) {
		return lost.status
	}
	return g.told(ctx, c, err)
}

// admit finds out who calls and whether that one may. The call is never nil: what is
// refused is audited too.
func (g *Guard) admit(ctx context.Context, method string) (*call, error) {
	rule, known := g.methods[method]
	c := &call{rule: rule, what: short(method)}
	p := proof{}
	if from, ok := peer.FromContext(ctx); ok {
		p.from = from.Addr.String()
		p.tls = stateOf(from.AuthInfo)
	}
	if values := metadata.ValueFromIncomingContext(ctx, "authorization"); len(values) == 1 {
		p.token = bearer(values[0])
	}
	var err error
	c.caller, err = g.identify(ctx, p)
	if err != nil {
		return c, err
	}
	if !known {
		if c.caller.Role == Anonymous {
			return c, errUnauthenticated
		}
		return c, status.Error(codes.PermissionDenied, "this method has no rule, so nobody may call it")
	}
	return c, g.authorize(c.caller, rule)
}

func stateOf(info credentials.AuthInfo) *tls.ConnectionState {
	if t, ok := info.(credentials.TLSInfo); ok {
		return &t.State
	}
	return nil
}

// short is the method without the package: FleetService/Scale.
func short(method string) string {
	method = strings.TrimPrefix(method, "/")
	service, name, _ := strings.Cut(method, "/")
	return service[strings.LastIndex(service, ".")+1:] + "/" + name
}

// recovered turns a panic of a handler into an error: one call must not end the streams of
// all nodes.
func (g *Guard) recovered(ctx context.Context, c *call, err *error) {
	reason := recover()
	if reason == nil {
		return
	}
	g.log.ErrorContext(ctx, "call panicked", slog.String("what", c.what), slog.String("who", c.caller.String()),
		slog.String("reason", fmt.Sprint(reason)), slog.String("stack", string(debug.Stack())))
	*err = status.Error(codes.Internal, "the controller has a defect; its log says more")
}

// told is the error that the caller gets: strangers get no texts but those that are made
// for them, with a status.
func (g *Guard) told(ctx context.Context, c *call, err error) error {
	if err == nil || c.caller.Role != Anonymous {
		return err
	}
	if _, made := status.FromError(err); made {
		return err
	}
	g.log.WarnContext(ctx, "call of a stranger failed", slog.String("what", c.what), slog.String("from", c.caller.From), slog.Any("err", err))
	return status.Error(codes.Internal, "the call failed; the controller's log says more")
}

// guarded is a stream whose context ends with the caller's access, and which brings
// nothing either way after that.
type guarded struct {
	grpc.ServerStream
	ctx   context.Context //nolint:containedctx // a stream has one: grpc.ServerStream.Context
	call  *call
	first sync.Once
}

// Context ends when the stream does, or the caller's access.
func (s *guarded) Context() context.Context { return s.ctx }

// RecvMsg receives.
func (s *guarded) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	if err := s.lost(); err != nil {
		return err
	}
	s.first.Do(func() { s.call.about(m) })
	return nil
}

// SendMsg sends.
func (s *guarded) SendMsg(m any) error {
	if err := s.lost(); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(m)
}

func (s *guarded) lost() error {
	if lost := new(lostError); errors.As(context.Cause(s.ctx), &lost) {
		return lost.status
	}
	return nil
}
