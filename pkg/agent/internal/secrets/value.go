package secrets

import (
	"crypto/subtle"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
)

// Redacted is what every formatter and encoder shows instead of a value.
const Redacted = "[redacted]"

// ErrRedacted is what decoders answer: a value never comes back from an encoding.
var ErrRedacted = errors.New("a secret value can't be decoded")

// Value is the text of one secret. It shows Redacted in fmt (every verb), slog, JSON,
// YAML, XML, text, binary and gob encodings; decoding into it is an error. The zero
// Value is empty. Copies share the count of Opened. Safe for concurrent use.
//
// The text sits behind a func, because fmt, and libraries that print or copy by
// reflection, read unexported fields and follow pointers, but can't look into a closure.
type Value struct {
	text   func() string
	opened func(add int64) int64
}

// NewValue makes the value of a text.
func NewValue(text string) Value {
	var count atomic.Int64
	return Value{text: func() string { return text }, opened: count.Add}
}

// Open returns the text. Only what hands it to a container or a registry may call it.
func (v Value) Open() string {
	if v.text == nil {
		return ""
	}
	v.opened(1)
	return v.text()
}

// Opened tells how often Open handed the text out.
func (v Value) Opened() int64 {
	if v.opened == nil {
		return 0
	}
	return v.opened(0)
}

// Equal compares two texts in a time that depends on their lengths only.
func (v Value) Equal(other Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.peek()), []byte(other.peek())) == 1
}

// IsEmpty tells whether there is no text.
func (v Value) IsEmpty() bool { return v.peek() == "" }

// peek is for this package, which compares and digests; it is not counted.
func (v Value) peek() string {
	if v.text == nil {
		return ""
	}
	return v.text()
}

// String implements fmt.Stringer.
func (Value) String() string { return Redacted }

// GoString implements fmt.GoStringer.
func (Value) GoString() string { return Redacted }

// Format implements fmt.Formatter for every verb, the wrong ones included.
func (Value) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, Redacted) }

// LogValue implements slog.LogValuer.
func (Value) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText implements encoding.TextMarshaler.
func (Value) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// AppendText implements encoding.TextAppender.
func (Value) AppendText(b []byte) ([]byte, error) { return append(b, Redacted...), nil }

// MarshalBinary implements encoding.BinaryMarshaler.
func (Value) MarshalBinary() ([]byte, error) { return []byte(Redacted), nil }

// MarshalJSON implements json.Marshaler.
func (Value) MarshalJSON() ([]byte, error) { return json.Marshal(Redacted) }

// MarshalYAML implements the marshalers of the YAML libraries.
func (Value) MarshalYAML() (any, error) { return Redacted, nil }

// MarshalXML implements xml.Marshaler.
func (Value) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	return e.EncodeElement(Redacted, start)
}

// GobEncode implements gob.GobEncoder.
func (Value) GobEncode() ([]byte, error) { return []byte(Redacted), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it always fails.
func (*Value) UnmarshalText([]byte) error { return ErrRedacted }

// UnmarshalBinary implements encoding.BinaryUnmarshaler; it always fails.
func (*Value) UnmarshalBinary([]byte) error { return ErrRedacted }

// UnmarshalJSON implements json.Unmarshaler; it always fails.
func (*Value) UnmarshalJSON([]byte) error { return ErrRedacted }

// UnmarshalYAML implements the unmarshalers of the YAML libraries; it always fails.
func (*Value) UnmarshalYAML([]byte) error { return ErrRedacted }

// GobDecode implements gob.GobDecoder; it always fails.
func (*Value) GobDecode([]byte) error { return ErrRedacted }
