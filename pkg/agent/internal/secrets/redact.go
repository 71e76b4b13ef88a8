package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	// Shorter texts appear everywhere: replacing them would destroy every message.
	minRedacted = 6
	// minPIN is for values of digits alone, which are looked for as numbers of their own.
	minPIN = 4
	// minLine is for the lines of a value of many: what prints it may indent them, end them
	// with a carriage return, or leave some out.
	minLine = 16
)

// redactor is immutable; it holds the texts to look for. They are reachable by a closure
// only, as the text of a Value.
type redactor struct {
	needles func() []string
	pins    func() []string
}

func newRedactor(entries map[string]*entry, earlier []Value) *redactor {
	values := slices.Clone(earlier)
	for _, e := range entries {
		values = append(values, e.value, e.previous)
		values = slices.AppendSeq(values, maps.Values(e.earlier))
	}
	var needles, pins []string
	for _, v := range values {
		text := v.peek()
		needles = append(needles, forms(text)...)
		if lines := strings.Split(text, "\n"); len(lines) > 1 {
			for _, line := range lines {
				if line = strings.TrimSpace(line); len(line) >= minLine {
					needles = append(needles, forms(line)...)
				}
			}
		}
		if len(text) >= minPIN && len(text) < minRedacted && strings.Trim(text, "0123456789") == "" {
			pins = append(pins, text)
		}
	}
	needles, pins = slices.Compact(slices.Sorted(slices.Values(needles))), slices.Compact(slices.Sorted(slices.Values(pins)))
	return &redactor{needles: func() []string { return needles }, pins: func() []string { return pins }}
}

// forms lists what a value may look like in a text.
func forms(text string) []string {
	if len(text) < minRedacted {
		return nil
	}
	raw := []byte(text)
	all := []string{
		text, url.QueryEscape(text), url.PathEscape(text), jsonForm(text, true), jsonForm(text, false),
		quoted(strconv.Quote(text)), quoted(strconv.QuoteToASCII(text)), quoted(strconv.Quote(jsonForm(text, false))),
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

// quoted is a text that was quoted, without the marks around it.
func quoted(text string) string { return text[1 : len(text)-1] }

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
	for _, pin := range r.pins() {
		spans = append(spans, numbers(text, pin)...)
	}
	if len(spans) == 0 {
		return text
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	return cut(text, spans)
}

// numbers finds a PIN where it is no part of a word or of a longer number.
func numbers(text, pin string) []span {
	var found []span
	for from := 0; ; {
		at := strings.Index(text[from:], pin)
		if at < 0 {
			return found
		}
		at += from
		from = at + len(pin)
		if !inWord(text, at-1) && !inWord(text, from) {
			found = append(found, span{at, from})
		}
	}
}

// inWord tells whether there is a letter or a digit at a place in a text.
func inWord(text string, at int) bool {
	if at < 0 || at >= len(text) {
		return false
	}
	c := text[at]
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
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
