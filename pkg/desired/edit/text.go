package edit

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// lines splits a text after its line breaks, which are those of the YAML parser.
func lines(data []byte) [][]byte {
	var out [][]byte
	start := 0
	for i := 0; i < len(data); {
		n := breakAt(data[i:])
		if n == 0 {
			_, size := utf8.DecodeRune(data[i:])
			i += size
			continue
		}
		i += n
		out = append(out, data[start:i])
		start = i
	}
	if start < len(data) {
		out = append(out, data[start:])
	}
	return out
}

// breakAt is the length of the line break at the start of data: 0 when there is none.
func breakAt(data []byte) int {
	for _, b := range []string{"\r\n", "\n", "\r", "\u0085", "\u2028", "\u2029"} {
		if bytes.HasPrefix(data, []byte(b)) {
			return len(b)
		}
	}
	return 0
}

const byteOrderMark = "\ufeff"

// offset is where a node starts in the file. The parser counts characters, not bytes.
func (f *file) offset(node *yaml.Node) int {
	at := 0
	for i, line := range lines(f.data) {
		if i+1 < node.Line {
			at += len(line)
			continue
		}
		if i == 0 && bytes.HasPrefix(line, []byte(byteOrderMark)) {
			at, line = at+len(byteOrderMark), line[len(byteOrderMark):]
		}
		for range node.Column - 1 {
			if len(line) == 0 {
				break
			}
			_, size := utf8.DecodeRune(line)
			at, line = at+size, line[size:]
		}
		return at
	}
	return at
}

// extent is the text of a scalar or an alias without its anchor and tag. False means that it
// goes over several lines in a way that is not edited here.
func (f *file) extent(node *yaml.Node) (start, end int, ok bool) {
	start = f.offset(node)
	if node.Kind == yaml.AliasNode {
		end = start + 1 + len(node.Value)
		return start, end, bytes.HasPrefix(f.data[start:], []byte("*"+node.Value))
	}
	for start < len(f.data) && (f.data[start] == '&' || f.data[start] == '!') {
		rest := f.data[start:]
		word := bytes.IndexAny(rest, " \t\r\n")
		if word < 0 {
			return 0, 0, false
		}
		start += word
		start += len(f.data[start:]) - len(bytes.TrimLeft(f.data[start:], " \t"))
	}
	rest := f.data[start:]
	switch {
	case node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return 0, 0, false
	case node.Style&yaml.SingleQuotedStyle != 0:
		end, ok = closingQuote(rest, '\'')
	case node.Style&yaml.DoubleQuotedStyle != 0:
		end, ok = closingQuote(rest, '"')
	default:
		end, ok = len(node.Value), bytes.HasPrefix(rest, []byte(node.Value))
	}
	return start, start + end, ok && !bytes.ContainsAny(f.data[start:start+end], "\r\n")
}

// closingQuote is the length of the quoted text at the start of s.
func closingQuote(s []byte, quote byte) (int, bool) {
	if len(s) == 0 || s[0] != quote {
		return 0, false
	}
	for i := 1; i < len(s); i++ {
		switch {
		case quote == '"' && s[i] == '\\':
			i++
		case quote == '\'' && bytes.HasPrefix(s[i:], []byte("''")):
			i++
		case s[i] == quote:
			return i + 1, true
		}
	}
	return 0, false
}

// lineEnding is what the file's first line ends in.
func (f *file) lineEnding() string {
	all := lines(f.data)
	if len(all) == 0 {
		return "\n"
	}
	for i := range all[0] {
		if n := breakAt(all[0][i:]); n > 0 {
			return string(all[0][i:])
		}
	}
	return "\n"
}

// quote writes a value in a style: plain where the parser reads the same text back.
func quote(value string, style yaml.Style) string {
	single := "'" + strings.ReplaceAll(value, "'", "''") + "'"
	switch {
	case style&yaml.SingleQuotedStyle != 0:
		return single
	case style&yaml.DoubleQuotedStyle != 0:
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
	}
	// In a flow mapping: that is the narrower of the two contexts.
	top, err := single1("{k: " + value + "}")
	if err == nil && scalar(child(top, "k")) == value && value != "" {
		switch child(top, "k").ShortTag() {
		case "!!str", "!!int", "!!float":
			return value
		}
	}
	return single
}

func single1(text string) (*yaml.Node, error) { return single([]byte(text)) }
