package access_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"ktrdr.io/fleet/pkg/controller/access"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// services are all that a controller serves, by their descriptors.
func services() []protoreflect.ServiceDescriptor {
	var found []protoreflect.ServiceDescriptor
	add := func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			found = append(found, file.Services().Get(i))
		}
		return true
	}
	protoregistry.GlobalFiles.RangeFilesByPackage(ktrdrv1.File_ktrdr_v1_agent_proto.Package(), add)
	add(grpc_health_v1.File_grpc_health_v1_health_proto)
	add(reflectionv1.File_grpc_reflection_v1_reflection_proto)
	add(grpc_reflection_v1alpha.File_grpc_reflection_v1alpha_reflection_proto)
	return found
}

func methods() map[string]protoreflect.MethodDescriptor {
	all := map[string]protoreflect.MethodDescriptor{}
	for _, service := range services() {
		for i := range service.Methods().Len() {
			method := service.Methods().Get(i)
			all[fmt.Sprintf("/%s/%s", service.FullName(), method.Name())] = method
		}
	}
	return all
}

// register adds every method of every service with an answer of nothing: what is tested
// is what stands before it.
func register(server *grpc.Server) {
	for _, service := range services() {
		desc := &grpc.ServiceDesc{ServiceName: string(service.FullName()), HandlerType: (*any)(nil)}
		for i := range service.Methods().Len() {
			method := service.Methods().Get(i)
			if method.IsStreamingClient() || method.IsStreamingServer() {
				desc.Streams = append(desc.Streams, grpc.StreamDesc{
					StreamName: string(method.Name()), ClientStreams: method.IsStreamingClient(), ServerStreams: method.IsStreamingServer(),
					Handler: streamNothing(method),
				})
				continue
			}
			desc.Methods = append(desc.Methods, grpc.MethodDesc{MethodName: string(method.Name()), Handler: answerNothing(service, method)})
		}
		server.RegisterService(desc, struct{}{})
	}
}

func answerNothing(service protoreflect.ServiceDescriptor, method protoreflect.MethodDescriptor) grpc.MethodHandler {
	return func(srv any, ctx context.Context, dec func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		in := dynamicpb.NewMessage(method.Input())
		if err := dec(in); err != nil {
			return nil, err
		}
		info := &grpc.UnaryServerInfo{Server: srv, FullMethod: fmt.Sprintf("/%s/%s", service.FullName(), method.Name())}
		return interceptor(ctx, in, info, func(context.Context, any) (any, error) { return dynamicpb.NewMessage(method.Output()), nil })
	}
}

func streamNothing(method protoreflect.MethodDescriptor) grpc.StreamHandler {
	return func(_ any, stream grpc.ServerStream) error {
		for {
			err := stream.RecvMsg(dynamicpb.NewMessage(method.Input()))
			if err == nil && method.IsStreamingClient() {
				continue
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			return stream.SendMsg(dynamicpb.NewMessage(method.Output()))
		}
	}
}

// call makes one call with an empty request and returns how it ended.
func call(t *testing.T, conn *grpc.ClientConn, name string, method protoreflect.MethodDescriptor) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := conn.NewStream(ctx, desc, name)
	if err != nil {
		return err
	}
	if !method.IsStreamingClient() {
		if err := stream.SendMsg(dynamicpb.NewMessage(method.Input())); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	if err := stream.RecvMsg(dynamicpb.NewMessage(method.Output())); err != nil {
		return err
	}
	if err := stream.RecvMsg(dynamicpb.NewMessage(method.Output())); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the answer: %w", err)
	}
	return nil
}

var row = regexp.MustCompile("^\\| `([A-Za-z]+/[A-Za-z]+)` \\| ([a-z]+) \\| (yes)?")

// documented reads the table of docs/spec/security.md.
func documented(t *testing.T) map[string]access.Rule {
	t.Helper()
	page, err := os.ReadFile("../../../docs/spec/security.md")
	must(t, err)
	rows := map[string]access.Rule{}
	for line := range bytes.Lines(page) {
		if found := row.FindSubmatch(line); found != nil {
			rows[string(found[1])] = access.Rule{Least: access.Role(found[2]), Quiet: len(found[3]) == 0}
		}
	}
	return rows
}

func short(method string) string {
	return method[strings.LastIndex(method[:strings.LastIndex(method, "/")], ".")+1:]
}

// TestEveryMethodHasARule holds the contract, the table and its documentation together.
func TestEveryMethodHasARule(t *testing.T) {
	all, rules, page := methods(), access.Methods(), documented(t)
	if len(all) < 35 {
		t.Fatalf("only %d methods are looked at", len(all))
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		rule, found := rules[name]
		if !found {
			t.Errorf("%s has no rule in access.Methods: who may call it?", name)
			continue
		}
		if told := page[short(name)]; told.Least != rule.Least || told.Quiet != rule.Quiet {
			t.Errorf("%s has the rule %+v, docs/spec/security.md says %+v", name, rule, told)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		if all[name] == nil {
			t.Errorf("there is a rule for %s, which does not exist", name)
		}
		delete(page, short(name))
	}
	for name := range page {
		t.Errorf("docs/spec/security.md has a row for %s, which has no rule", name)
	}
}

// TestPermissions makes every call as everybody, over TLS.
func TestPermissions(t *testing.T) {
	s := serve(t, register, nil)
	node := s.node(t, "b")
	removed := s.node(t, "c")
	s.book.change(func(b *book) { delete(b.nodes, "c") })
	older := s.node(t, "d")
	s.node(t, "d") // has joined anew
	_, stranger := s.operator(t, "gone", access.Admin)
	s.book.change(func(b *book) { delete(b.people, "gone") })

	conns := map[string]*grpc.ClientConn{
		"anonymous":           s.dial(t, nil, ""),
		"node":                s.dial(t, node, ""),
		"controller":          s.controller(t, "c1"),
		"controller gone":     s.controller(t, "c2"),
		"removed node":        s.dial(t, removed, ""),
		"node before":         s.dial(t, older, ""),
		"unknown operator":    s.dial(t, nil, stranger.Text()),
		"nonsense token":      s.dial(t, nil, "ktrdr-op-1.x.y"),
		"join token as token": s.dial(t, nil, "ktrdr-join-1.x.y.z.a"),
	}
	for _, role := range []access.Role{access.Viewer, access.Operator, access.Admin} {
		cert, token := s.operator(t, string(role), role)
		conns[string(role)] = s.dial(t, cert, "")
		conns[string(role)+" by token"] = s.dial(t, nil, token.Text())
	}
	page := documented(t)
	for name, method := range methods() {
		least := page[short(name)].Least
		for who, conn := range conns {
			err := call(t, conn, name, method)
			if got, want := status.Code(err), expected(who, least); got != want {
				t.Errorf("%s as %s: %s, want %s (%v)", name, who, got, want, err)
			}
			if status.Code(err) == codes.Unauthenticated && strings.Contains(err.Error(), "role") {
				t.Errorf("%s as %s: a stranger learns too much: %v", name, who, err)
			}
		}
	}
}

// expected is written without Role.Allows on purpose.
func expected(who string, least access.Role) codes.Code {
	may := map[access.Role][]string{
		access.Anonymous:  {"anonymous", "node", "controller", "viewer", "viewer by token", "operator", "operator by token", "admin", "admin by token"},
		access.Node:       {"node"},
		access.Controller: {"controller"},
		access.Viewer:     {"viewer", "viewer by token", "operator", "operator by token", "admin", "admin by token"},
		access.Operator:   {"operator", "operator by token", "admin", "admin by token"},
		access.Admin:      {"admin", "admin by token"},
	}
	known := may[access.Anonymous]
	switch {
	case slices.Contains(may[least], who):
		return codes.OK
	case who == "anonymous" || !slices.Contains(known, who):
		return codes.Unauthenticated
	}
	return codes.PermissionDenied
}
