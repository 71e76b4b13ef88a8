package wire

import (
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// Text is s with what is no UTF-8 replaced, as encoding/json does: a program may print any
// bytes, and a message with such a string could not be sent.
func Text[S ~string](s S) string { return strings.ToValidUTF8(string(s), "\ufffd") }

func texts[S ~string](in []S) []string { return each(in, Text[S]) }

// each converts each element; an empty list is nil.
func each[From, To any](in []From, convert func(From) To) []To {
	if len(in) == 0 {
		return nil
	}
	return shown(in, convert)
}

// shown is each for what JSON shows as [] when it is empty.
func shown[From, To any](in []From, convert func(From) To) []To {
	out := make([]To, len(in))
	for i := range in {
		out[i] = convert(in[i])
	}
	return out
}

// optional converts what may be absent.
func optional[From, To any](in *From, convert func(From) *To) *To {
	if in == nil {
		return nil
	}
	return convert(*in)
}

// Timestamp converts a time; the zero time is unset.
func Timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// Time converts a timestamp to UTC; unset is the zero time, and so is one that is out of
// range.
func Time(t *timestamppb.Timestamp) time.Time {
	if t == nil || !t.IsValid() {
		return time.Time{}
	}
	return t.AsTime()
}

func textMap(in map[string]string) map[string]string {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]string, len(in))
	// Sorted, because two keys may become one.
	for _, key := range slices.Sorted(maps.Keys(in)) {
		out[Text(key)] = Text(in[key])
	}
	return out
}

func cloneMap(in map[string]string) map[string]string {
	if len(in) == 0 {
		return nil
	}
	return maps.Clone(in)
}
