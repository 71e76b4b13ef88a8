package secrets

import (
	"errors"
	"fmt"
	"strings"
)

// dotenvParser reads KEY=value lines. Its errors hold line numbers and never content:
// the text of a broken line may be part of a value.
type dotenvParser struct {
	rest   string
	line   int
	values map[string]Value
	seen   map[string]int
}

// parseDotenv understands: blank lines, # comments, an optional "export ", bare values
// (trimmed, ending at " #"), 'single quotes' without escapes, "double quotes" with \n \r
// \t \" \\ \$ and over several lines, a byte-order mark, CRLF. Nothing is interpolated.
func parseDotenv(text string) (map[string]Value, error) {
	text = strings.ReplaceAll(strings.TrimPrefix(text, "\uFEFF"), "\r\n", "\n")
	p := &dotenvParser{rest: text, line: 1, values: map[string]Value{}, seen: map[string]int{}}
	for p.rest != "" {
		at := p.line
		if err := p.entry(); err != nil {
			return nil, fmt.Errorf("line %d: %w", at, err)
		}
	}
	return p.values, nil
}

func (p *dotenvParser) entry() error {
	if strings.Contains(p.rest[:lineEnd(p.rest)], "\x00") {
		return errors.New("holds a NUL character")
	}
	p.rest = strings.TrimLeft(p.rest, " \t")
	if p.rest == "" || p.rest[0] == '\n' || p.rest[0] == '#' {
		p.skipLine()
		return nil
	}
	if after, found := strings.CutPrefix(p.rest, "export"); found && startsBlank(after) {
		p.rest = strings.TrimLeft(after, " \t")
	}
	line := p.rest[:lineEnd(p.rest)]
	key, _, found := strings.Cut(line, "=")
	if !found {
		return errors.New("has no =")
	}
	p.rest = p.rest[len(key)+1:]
	key = strings.TrimRight(key, " \t")
	if !validKey(key) {
		return errors.New("the name before = is not made of letters, digits and _, or begins with a digit")
	}
	at := p.line
	value, err := p.value()
	if err != nil {
		return err
	}
	if before := p.seen[key]; before != 0 {
		return fmt.Errorf("sets the same name as line %d", before)
	}
	p.seen[key], p.values[key] = at, NewValue(value)
	return nil
}

func (p *dotenvParser) value() (string, error) {
	p.rest = strings.TrimLeft(p.rest, " \t")
	if p.rest == "" {
		return "", nil
	}
	switch p.rest[0] {
	case '\'':
		return p.single()
	case '"':
		return p.double()
	}
	line := p.rest[:lineEnd(p.rest)]
	p.skipLine()
	if strings.HasPrefix(line, "#") {
		return "", nil
	}
	for i := 1; i < len(line); i++ {
		if line[i] == '#' && (line[i-1] == ' ' || line[i-1] == '\t') {
			line = line[:i]
			break
		}
	}
	return strings.TrimRight(line, " \t\r"), nil
}

func (p *dotenvParser) single() (string, error) {
	line := p.rest[1:][:lineEnd(p.rest[1:])]
	value, _, found := strings.Cut(line, "'")
	if !found {
		return "", errors.New("the single quote is not closed on its line")
	}
	p.rest = p.rest[len(value)+2:]
	return value, p.trailer()
}

func (p *dotenvParser) double() (string, error) {
	var out strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; c {
		case '"':
			p.line += strings.Count(p.rest[:i], "\n")
			p.rest = p.rest[i+1:]
			return out.String(), p.trailer()
		case '\\':
			if i++; i == len(p.rest) {
				return "", errors.New("the double quote is not closed")
			}
			text, known := unescape(p.rest[i])
			if !known {
				return "", errors.New(`has an unknown escape: only \n \r \t \" \\ \$ are known`)
			}
			out.WriteByte(text)
		case 0:
			return "", errors.New("holds a NUL character")
		default:
			out.WriteByte(c)
		}
	}
	return "", errors.New("the double quote is not closed")
}

func unescape(c byte) (byte, bool) {
	switch c {
	case 'n':
		return '\n', true
	case 'r':
		return '\r', true
	case 't':
		return '\t', true
	case '"', '\\', '$':
		return c, true
	}
	return 0, false
}

// trailer accepts nothing but blanks and a comment after a closing quote.
func (p *dotenvParser) trailer() error {
	line := strings.TrimLeft(p.rest[:lineEnd(p.rest)], " \t")
	if line != "" && line[0] != '#' {
		return errors.New("has text after the closing quote")
	}
	p.skipLine()
	return nil
}

func (p *dotenvParser) skipLine() {
	end := lineEnd(p.rest)
	if end < len(p.rest) {
		end++
		p.line++
	}
	p.rest = p.rest[end:]
}

func lineEnd(text string) int {
	if end := strings.IndexByte(text, '\n'); end >= 0 {
		return end
	}
	return len(text)
}

func startsBlank(text string) bool { return text != "" && (text[0] == ' ' || text[0] == '\t') }

func validKey(key string) bool {
	for i, r := range key {
		letter := r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '_'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return key != ""
}
