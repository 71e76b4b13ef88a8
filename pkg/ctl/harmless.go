package ctl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode"
)

// writeLine writes a value as one line of JSON.
func writeLine(w io.Writer, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode output: %w", err)
	}
	_, err = w.Write(append(escaped(text), '\n'))
	return err
}

// escaped is JSON whose strings have escapes for all that a terminal would act on; Go's encoder
// leaves C1 controls and those of bidirectional text as they are.
func escaped(text []byte) []byte {
	var out bytes.Buffer
	for _, r := range string(text) {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r) {
			fmt.Fprintf(&out, `\u%04x`, r)
			continue
		}
		out.WriteRune(r)
	}
	return out.Bytes()
}
