package uplink

import (
	"fmt"
	"runtime"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// freeTexts are the fields, by message, that may hold words of programs, engines and
// people: whatever is in them goes through the redactor. All other strings are names of
// the desired state, digests, ids and fixed words; a value that happens to be the name of
// a service would only make the status unreadable. A test knows every string of the
// contract and fails when one is in neither group.
func freeTexts() map[protoreflect.Name]map[protoreflect.Name]bool {
	fields := func(names ...protoreflect.Name) map[protoreflect.Name]bool {
		set := map[protoreflect.Name]bool{}
		for _, name := range names {
			set[name] = true
		}
		return set
	}
	return map[protoreflect.Name]map[protoreflect.Name]bool{
		"Condition":          fields("message"),
		"RegistrationStatus": fields("state", "message"),
		"RegistrarStatus":    fields("message"),
		"BackupStatus":       fields("file", "message"),
		"StackStatus":        fields("message", "pending"),
		"ServiceStatus":      fields("message"),
		"MountStatus":        fields("message"),
		"FailedUpdate":       fields("message", "log"),
		"Hold":               fields("why", "who"),
		"ProviderState":      fields("message"),
		"ReferenceStatus":    fields("message"),
		"Event":              fields("message"),
		"SliceResult":        fields("message"),
		"CommandResult":      fields("message"),
		"Operation":          fields("cause"),
		"FieldDiff":          fields("have", "want"),
		"Problem":            fields("message"),
		"Check":              fields("subject", "message", "fix"),
		"LogLine":            fields("text"),
	}
}

// textLimits bound each free text, in bytes: the first one with which a message is small
// enough counts.
func textLimits() []int { return []int{16 << 10, 2 << 10, 256, 32} }

// roomForRest is what a message may be smaller than the largest one, in bytes.
const roomForRest = 64 << 10

// prepare takes secrets out of a message and makes it small enough to be sent.
func prepare(m *ktrdrv1.AgentMessage, redact func(string) string) error {
	texts := freeTexts()
	scrub(m.ProtoReflect(), texts, redact)
	for _, limit := range textLimits() {
		scrub(m.ProtoReflect(), texts, func(text string) string { return cutText(text, limit) })
		if proto.Size(m) <= wire.MaxMessage-roomForRest {
			return nil
		}
	}
	return fmt.Errorf("%T has %d bytes, the largest message has %d", m.GetKind(), proto.Size(m), wire.MaxMessage-roomForRest)
}

// scrub puts every free text through change.
func scrub(m protoreflect.Message, texts map[protoreflect.Name]map[protoreflect.Name]bool, change func(string) string) {
	free := texts[m.Descriptor().Name()]
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap(): // the only one has digests by image
		case field.Kind() == protoreflect.MessageKind && field.IsList():
			for i := range value.List().Len() {
				scrub(value.List().Get(i).Message(), texts, change)
			}
		case field.Kind() == protoreflect.MessageKind:
			scrub(value.Message(), texts, change)
		case !free[field.Name()]:
		case field.IsList():
			for i := range value.List().Len() {
				value.List().Set(i, protoreflect.ValueOfString(valid(change(value.List().Get(i).String()))))
			}
		default:
			m.Set(field, protoreflect.ValueOfString(valid(change(value.String()))))
		}
		return true
	})
}

func valid(text string) string { return strings.ToValidUTF8(text, string(unicode.ReplacementChar)) }

// cutText keeps at most limit bytes of a text, whole characters, and shows that it did.
func cutText(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	end := limit - len("…")
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:max(end, 0)] + "…"
}

// clean makes a text from outside fit for one line of a terminal or a log.
func clean(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, cutText(text, limit))
	return strings.TrimSpace(text)
}

func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }
