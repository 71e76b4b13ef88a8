package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

// Shorter texts appear everywhere: replacing them would destroy every message.
const minRedacted = 6

// redactor is immutable; it holds the texts to look for. They are reachable by a closure
// only, as the text of a Value.
type redactor struct {
	needles func() []string
}

func newRedactor(entries map[string]*entry) *redactor {
	var needles []string
	for _, e := range entries {
		needles = append(needles, forms(e.value.peek())...)
		needles = append(needles, forms(e.previous.peek())...)
	}
	slices.Sort(needles)
	needles = slices.Compact(needles)
	return &redactor{needles: func() []string { return needles }}
}

// forms lists what a value may look like in a text.
func forms(text string) []string {
	if len(text) < minRedacted {
		return nil
	}
	raw := []byte(text)
	all := []string{
		text, url.QueryEscape(text), url.PathEscape(text), jsonForm(text, true), jsonForm(text, false),
		hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)),
	}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for offset := range 3 {
			all = append(all, base64Form(encoding, raw, offset))
		}
	}
	return slices.DeleteFunc(all, func(form string) bool { return len(form) < minRedacted })
}

// base64Form is the part of the encoding that depends on raw alone when offset bytes of
// something else (modulo 3) come before it.
func base64Form(encoding *base64.Encoding, raw []byte, offset int) string {
	encoded := encoding.EncodeToString(append(make([]byte, offset), raw...))
	bits := 8 * (offset + len(raw))
	return encoded[(8*offset+5)/6 : bits/6]
}

func jsonForm(text string, escapeHTML bool) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(escapeHTML)
	if encoder.Encode(text) != nil {
		return ""
	}
	return strings.TrimSuffix(strings.TrimPrefix(out.String(), `"`), "\"\n")
}

type span struct{ from, to int }

// redact replaces the union of all matches: two values that overlap in a text must not
// leave the rest of the second one behind.
func (r *redactor) redact(text string) string {
	if r.needles == nil {
		return text
	}
	var spans []span
	for _, needle := range r.needles() {
		for from := 0; ; {
			at := strings.Index(text[from:], needle)
			if at < 0 {
				break
			}
			spans = append(spans, span{from + at, from + at + len(needle)})
			from += at + 1
		}
	}
	if len(spans) == 0 {
		return text
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	return cut(text, spans)
}

func cut(text string, spans []span) string {
	var out strings.Builder
	end := 0
	for _, s := range spans {
		if s.from >= end {
			out.WriteString(text[end:s.from])
			out.WriteString(Redacted)
		}
		end = max(end, s.to)
	}
	out.WriteString(text[end:])
	return out.String()
}
