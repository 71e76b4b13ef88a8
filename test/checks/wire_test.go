package checks_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	_ "google.golang.org/protobuf/types/known/anypb"      // types that breaches use
	_ "google.golang.org/protobuf/types/known/structpb"   // types that breaches use
	_ "google.golang.org/protobuf/types/known/wrapperspb" // types that breaches use

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// suspicious are words of names for what could hold the value of a secret.
var suspicious = []string{
	"access", "auth", "authorization", "bearer", "credential", "credentials", "data", "env", "environ", "environment", "key", "keys",
	"login", "passphrase", "passwd", "password", "payload", "pem", "plain", "plaintext", "private", "raw", "resolved",
	"secret", "secrets", "token", "tokens", "value", "values", "variable", "variables",
}

// allowed says of each name or kind of field that looks suspicious why it is none.
var allowed = map[string]string{
	"ktrdr.v1.CreateJoinTokenResponse.join_token":  "made by the controller, shown once to an admin",
	"ktrdr.v1.JoinRequest.join_token":              "redeemed by the controller that made it; only its hash is kept",
	"ktrdr.v1.CreateOperatorResponse.access_token": "made by the controller, shown once to an admin",
	"ktrdr.v1.CreateOperatorRequest.csr":           "public key",
	"ktrdr.v1.CreateOperatorResponse.chain":        "certificates",
	"ktrdr.v1.CreateOperatorResponse.authority":    "certificates",
	"ktrdr.v1.JoinRequest.csr":                     "public key",
	"ktrdr.v1.JoinResponse.chain":                  "certificates",
	"ktrdr.v1.JoinResponse.authority":              "certificates",
	"ktrdr.v1.RenewRequest.csr":                    "public key",
	"ktrdr.v1.RenewResponse.chain":                 "certificates",
	"ktrdr.v1.RenewResponse.authority":             "certificates",
	"ktrdr.v1.RenewAccessRequest":                  "see its field",
	"ktrdr.v1.RenewAccessResponse":                 "see its fields",
	"ktrdr.v1.RenewAccessRequest.csr":              "public key",
	"ktrdr.v1.RenewAccessResponse.chain":           "certificates",
	"ktrdr.v1.RenewAccessResponse.authority":       "certificates",
	"ktrdr.v1.PlanTreeRequest.content":             "a repository, from the operator: references only, validation refuses what looks like a value",
	"ktrdr.v1.TreeChunk.content":                   "a repository, from the operator: references only, validation refuses what looks like a value",
	"ktrdr.v1.FileChunk.content":                   "a repository, to the node: references only, validation refuses what looks like a value",
	"ktrdr.v1.SliceFile.sha256":                    "digest of a file of the repository",
	"ktrdr.v1.FileChunk.sha256":                    "digest of a file of the repository",
	"ktrdr.v1.FileRequest.sha256":                  "digests of files of the repository",
	"ktrdr.v1.FileBatch.gone":                      "digests of files of the repository",
	"ktrdr.v1.Operation.key":                       "identifies an operation in its plan",
	"ktrdr.v1.NodeStatus.secret_providers":         "how providers are doing",
	"ktrdr.v1.ProviderState.access":                "when a token ends and which vaults it may read",
	"ktrdr.v1.CommandResult.secrets":               "references and who uses them",
	"ktrdr.v1.Command.secrets":                     "asks for references and who uses them",
	"ktrdr.v1.FailedUpdate.images":                 "ids of images by reference",
	"ktrdr.v1.AccessState":                         "when a token ends and which vaults it may read",
	"ktrdr.v1.SecretsCommand":                      "has no field",
	"ktrdr.v1.SecretsStatus":                       "references and who uses them",
	"ktrdr.v1.CreateJoinTokenRequest":              "asks for a join token",
	"ktrdr.v1.CreateJoinTokenResponse":             "see its field",
}

// TestWireCarriesNoSecret is one of the walls around secrets: no message of the contract
// has a field that is made for a value. Which fields look like it is for the name and the
// kind to tell; each that does has its reason in the table.
func TestWireCarriesNoSecret(t *testing.T) {
	found := map[string]string{}
	services := 0
	protoregistry.GlobalFiles.RangeFilesByPackage(ktrdrv1.File_ktrdr_v1_agent_proto.Package(), func(file protoreflect.FileDescriptor) bool {
		services += file.Services().Len()
		maps.Copy(found, suspects(file))
		return true
	})
	if services < 5 {
		t.Fatalf("only %d services are looked at", services)
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if allowed[name] == "" {
			t.Errorf("%s %s. Secrets go from their provider to the node and touch nothing else; if this can hold none, say why in the table", name, found[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(allowed)) {
		if found[name] == "" {
			t.Errorf("%s is in the table and is not suspicious (any more): remove it", name)
		}
	}
}

// suspects returns what looks as if it could hold a secret, with the reason.
func suspects(file protoreflect.FileDescriptor) map[string]string {
	found := map[string]string{}
	if file.Extensions().Len() > 0 {
		found[string(file.FullName())] = "has extensions, which can carry anything"
	}
	for i := range file.Messages().Len() {
		inMessage(file.Messages().Get(i), found)
	}
	return found
}

func inMessage(message protoreflect.MessageDescriptor, found map[string]string) {
	if word := suspiciousWord(snake(string(message.Name()))); word != "" {
		found[string(message.FullName())] = "has " + word + " in its name"
	}
	for i := range message.Messages().Len() {
		if nested := message.Messages().Get(i); !nested.IsMapEntry() {
			inMessage(nested, found)
		}
	}
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		if why := suspect(field); why != "" {
			found[string(field.FullName())] = why
		}
	}
}

func suspect(field protoreflect.FieldDescriptor) string {
	if word := suspiciousWord(string(field.Name())); word != "" {
		return "has " + word + " in its name"
	}
	switch {
	case field.IsMap():
		return "is a map, which can carry anything by a name of somebody's choice"
	case field.Kind() == protoreflect.BytesKind:
		return "is bytes, which can be anything"
	case field.Message() != nil && strings.HasPrefix(string(field.Message().FullName()), "google."):
		if name := field.Message().FullName(); name != "google.protobuf.Timestamp" && name != "google.protobuf.Duration" {
			return "is " + string(name) + ", which can be anything"
		}
	}
	return ""
}

func suspiciousWord(name string) string {
	for word := range strings.SplitSeq(strings.ToLower(name), "_") {
		if slices.Contains(suspicious, word) {
			return word
		}
	}
	return ""
}

// snake splits CamelCase as field names are split.
func snake(name string) string {
	var out strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			out.WriteByte('_')
		}
		out.WriteRune(r)
	}
	return out.String()
}

// TestWireCheckSeesBreaches plants fields that must not be there.
func TestWireCheckSeesBreaches(t *testing.T) {
	field := func(name string, kind descriptorpb.FieldDescriptorProto_Type, message string) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{Name: &name, Type: &kind, Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()}
		if message != "" {
			f.TypeName = &message
		}
		return f
	}
	const text, bytes, message = descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_BYTES, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	planted := []*descriptorpb.FieldDescriptorProto{
		field("value", text, ""), field("db_password", text, ""), field("secret", text, ""), field("access_token", text, ""),
		field("environment", text, ""), field("env", text, ""), field("blob", bytes, ""), field("anything", message, ".google.protobuf.Any"),
		field("settings", message, ".google.protobuf.Struct"), field("string_wrapped", message, ".google.protobuf.StringValue"),
		field("private_key", text, ""),
	}
	for i, f := range planted {
		f.Number = new(int32(i + 1))
	}
	good := field("message", text, "")
	good.Number = new(int32(100))
	file := &descriptorpb.FileDescriptorProto{
		Name: new("breach.proto"), Package: new("breach"), Syntax: new("proto3"),
		Dependency:  []string{"google/protobuf/any.proto", "google/protobuf/struct.proto", "google/protobuf/wrappers.proto"},
		MessageType: []*descriptorpb.DescriptorProto{{Name: new("Report"), Field: append(planted, good)}, {Name: new("SecretValue")}},
	}
	built, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	found := suspects(built)
	for _, f := range planted {
		if found["breach.Report."+f.GetName()] == "" {
			t.Errorf("%s was not seen", f.GetName())
		}
	}
	if found["breach.SecretValue"] == "" {
		t.Error("the message SecretValue was not seen")
	}
	if why := found["breach.Report.message"]; why != "" {
		t.Errorf("an ordinary field %s", why)
	}
}
