package wiretest

import (
	"context"
	"crypto/tls"
	"os"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Skew makes a connection behave as if its other end were another version.
type Skew struct {
	// change is done to each message, both ways.
	change func(proto.Message) error
	// extra sends a message of a kind that nobody knows before each one of a stream.
	extra bool
}

// Released is a peer of the last release: it has the fields and kinds of the descriptors in
// file only. Of what it gets it forgets the rest, and it sends no other.
func Released(t testing.TB, file string) Skew {
	t.Helper()
	data, err := os.ReadFile(file) //nolint:gosec // the test names it
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		t.Fatal(err)
	}
	return Skew{change: func(m proto.Message) error { return age(files, m) }}
}

// age passes a message through its released type.
func age(files *protoregistry.Files, m proto.Message) error {
	found, err := files.FindDescriptorByName(m.ProtoReflect().Descriptor().FullName())
	if err != nil {
		return err
	}
	old := dynamicpb.NewMessage(found.(protoreflect.MessageDescriptor)) //nolint:errcheck,forcetypeassert // a message has the name of one
	if err := pass(m, old); err != nil {
		return err
	}
	proto.Reset(m)
	return pass(old, m)
}

func pass(from, to proto.Message) error {
	data, err := proto.Marshal(from)
	if err != nil {
		return err
	}
	return proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(data, to)
}

// Numbers that no version uses.
const (
	laterNumber = 15_000
	laterText   = 15_001
)

// Next is a peer of the next release: each message, and each one in it, has fields that are
// not known yet, and streams carry kinds that are not known yet.
func Next() Skew {
	return Skew{extra: true, change: func(m proto.Message) error {
		later(m.ProtoReflect())
		return nil
	}}
}

// later adds unknown fields to a message and to all in it.
func later(m protoreflect.Message) {
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, laterNumber, protowire.VarintType), 7)
	unknown = protowire.AppendString(protowire.AppendTag(unknown, laterText, protowire.BytesType), "from the next release")
	m.SetUnknown(append(m.GetUnknown(), unknown...))
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case field.Message() == nil || field.IsMap():
		case field.IsList():
			for i := range v.List().Len() {
				later(v.List().Get(i).Message())
			}
		default:
			later(v.Message())
		}
		return true
	})
}

// Dial connects to a controller that is, or whose client is, of another version.
func (s Skew) Dial(target string, config *tls.Config) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithStreamInterceptor(s.stream), grpc.WithUnaryInterceptor(s.unary))
}

func (s Skew) unary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error { //nolint:revive // gRPC's own
	sent := proto.Clone(req.(proto.Message)) //nolint:errcheck,forcetypeassert // gRPC carries messages
	if err := s.change(sent); err != nil {
		return err
	}
	if err := invoke(ctx, method, sent, reply, conn, opts...); err != nil {
		return err
	}
	return s.change(reply.(proto.Message)) //nolint:errcheck,forcetypeassert // gRPC carries messages
}

func (s Skew) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) { //nolint:revive // gRPC's own
	opened, err := open(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, err
	}
	return &skewed{ClientStream: opened, skew: s, twoWay: desc.ClientStreams && desc.ServerStreams}, nil
}

type skewed struct {
	grpc.ClientStream
	skew   Skew
	twoWay bool
	// sent and got count messages: a stream begins as it always did.
	sent, got int
	// held is a message that came and was put off by an unknown one.
	held bool
}

// SendMsg implements grpc.ClientStream.
func (s *skewed) SendMsg(m any) error {
	message := proto.Clone(m.(proto.Message)) //nolint:errcheck,forcetypeassert // gRPC carries messages
	if err := s.skew.change(message); err != nil {
		return err
	}
	if s.skew.extra && s.twoWay && s.sent > 0 {
		if err := s.ClientStream.SendMsg(unknownKind(message)); err != nil {
			return err
		}
	}
	s.sent++
	return s.ClientStream.SendMsg(message)
}

// RecvMsg implements grpc.ClientStream.
func (s *skewed) RecvMsg(m any) error {
	message := m.(proto.Message) //nolint:errcheck,forcetypeassert // gRPC carries messages
	if s.skew.extra && s.twoWay && s.got > 0 && !s.held {
		s.held = true
		proto.Reset(message)
		proto.Merge(message, unknownKind(message))
		return nil
	}
	s.held = false
	if err := s.ClientStream.RecvMsg(m); err != nil {
		return err
	}
	s.got++
	return s.skew.change(message)
}

// unknownKind is a message of the same type that says nothing this version knows.
func unknownKind(like proto.Message) proto.Message {
	m := like.ProtoReflect().New()
	later(m)
	return m.Interface()
}
