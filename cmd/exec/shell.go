package main

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// shellText returns the position of the text in `sh -c TEXT`, -1 when argv is none.
func shellText(argv []string) int {
	if !slices.Contains([]string{"sh", "ash", "bash", "dash", "ksh", "zsh"}, path.Base(argv[0])) {
		return -1
	}
	command := false
	for i := 1; i < len(argv); i++ {
		switch word := argv[i]; {
		case word == "--" && command:
			if i+1 < len(argv) {
				return i + 1
			}
			return -1
		case len(word) < 2 || word[0] != '-' && word[0] != '+':
			if command {
				return i
			}
			return -1 // a script
		case strings.HasPrefix(word, "--"):
		case strings.HasSuffix(word, "o"):
			command = command || word[0] == '-' && strings.Contains(word, "c")
			i++ // its value
		default:
			command = command || word[0] == '-' && strings.Contains(word, "c")
		}
	}
	return -1
}

// errQuotes is about text whose quotes a shell would not accept either.
var errQuotes = errors.New("the quotes of a shell command that uses a secret don't match")

// quote replaces the placeholders in a shell's text by variables, quoted so that they are
// one word, and returns the variables: the shell does not parse a value, and its own
// arguments don't show one.
func quote(text string, values folder) (quoted string, variables []string, err error) {
	if len(api.References(text)) == 0 {
		return text, nil, nil
	}
	var out strings.Builder
	var q quoting
	for text != "" {
		head, rest, found := strings.Cut(text, api.PlaceholderOpen)
		if err := q.pass(head); err != nil {
			return "", nil, err
		}
		out.WriteString(head)
		ref, tail, closed := strings.Cut(rest, api.PlaceholderClose)
		if !found || !closed {
			break
		}
		value, err := values.read(ref)
		if err != nil {
			return "", nil, err
		}
		name := fmt.Sprintf("KTRDR_SECRET_%d", len(variables)+1)
		variables = append(variables, name+"="+value)
		out.WriteString(q.word("${" + name + "}"))
		text = tail
	}
	if len(q.open) > 0 {
		return "", nil, errQuotes
	}
	return out.String(), variables, nil
}

// quoting follows a shell's quotes through a text. open is what has not ended yet, the
// innermost last: ' " ` ( for $( or a subshell, { for ${.
type quoting struct {
	open    []byte
	escaped bool
	last    byte
}

// top is the innermost open quote, 0 outside of all.
func (q *quoting) top() byte {
	if len(q.open) == 0 {
		return 0
	}
	return q.open[len(q.open)-1]
}

func (q *quoting) push(c byte) { q.open = append(q.open, c) }
func (q *quoting) pop()        { q.open = q.open[:len(q.open)-1] }

// word writes a variable as one word where the text has come to.
func (q *quoting) word(variable string) string {
	q.last = 0
	switch q.top() {
	case '\'':
		return `'"` + variable + `"'`
	case '"':
		return variable
	}
	return `"` + variable + `"`
}

func (q *quoting) pass(text string) error {
	for i := range len(text) {
		c := text[i]
		switch {
		case q.escaped:
			q.escaped, c = false, 0
		case q.top() == '\'':
			if c == '\'' {
				q.pop()
			}
		case c == '\\':
			q.escaped = true
		case c == '<' && q.last == '<' && q.top() != '"':
			return errors.New("a shell command that uses a secret has a here-document: pass the secret in the environment instead")
		default:
			q.unquoted(c)
		}
		q.last = c
	}
	return nil
}

// unquoted takes one character outside of single quotes.
func (q *quoting) unquoted(c byte) {
	top := q.top()
	switch c {
	case '\'':
		if top != '"' {
			q.push(c)
		}
	case '"', '`':
		if top == c {
			q.pop()
		} else {
			q.push(c)
		}
	case '(':
		if q.last == '$' || top != '"' {
			q.push(c)
		}
	case ')':
		if top == '(' {
			q.pop()
		}
	case '{':
		if q.last == '$' {
			q.push(c)
		}
	case '}':
		if top == '{' {
			q.pop()
		}
	}
}
