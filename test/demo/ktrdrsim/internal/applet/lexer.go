package applet

import (
	"errors"
	"fmt"
	"strings"
)

// expander is asked for variables and substitutions when they are reached, so that $? is that of the command before.
type expander interface {
	expand(name string) string
	substitute(script string) string
}

// lexer reads one command.
type lexer struct {
	text string
	at   int
	with expander
	word strings.Builder
	// began says that there is a word, quoted that some of it was quoted or expanded, assigns that it sets a variable.
	began, quoted, assigns bool
	words, assigned        []string
}

// parse reads the first command of script, which may start with the operator that joins it to the one before.
func parse(script string, with expander) (command, string, error) {
	l := &lexer{text: script, with: with}
	operator := l.operator()
	for l.at < len(l.text) && !l.startsOperator() {
		if err := l.step(); err != nil {
			return command{}, "", err
		}
	}
	l.endWord()
	switch {
	case len(l.words)+len(l.assigned) == 0 && operator != "" && operator != ";" && operator != "\n":
		return command{}, "", fmt.Errorf("no command after %s", operator)
	case len(l.words) > 0 && len(l.assigned) > 0:
		return command{}, "", errors.New("a variable for one command is not supported")
	}
	return command{operator: operator, words: l.words, assigned: l.assigned}, l.text[l.at:], nil
}

func (l *lexer) operator() string {
	l.at += len(l.text[l.at:]) - len(strings.TrimLeft(l.text[l.at:], " \t"))
	for _, op := range []string{"&&", "||", "|", ";", "\n"} {
		if strings.HasPrefix(l.text[l.at:], op) {
			l.at += len(op)
			return op
		}
	}
	return ""
}

func (l *lexer) startsOperator() bool {
	rest := l.text[l.at:]
	return rest[0] == ';' || rest[0] == '\n' || rest[0] == '|' || strings.HasPrefix(rest, "&&")
}

func (l *lexer) endWord() {
	switch {
	case l.assigns:
		l.assigned = append(l.assigned, l.word.String())
	case l.began:
		l.words = append(l.words, l.word.String())
	}
	l.word.Reset()
	l.began, l.quoted, l.assigns = false, false, false
}

// step consumes one character, quoted string or expansion.
func (l *lexer) step() error {
	c := l.text[l.at]
	l.at++
	switch c {
	case ' ', '\t':
		l.endWord()
		return nil
	case '\'':
		end := strings.IndexByte(l.text[l.at:], '\'')
		if end < 0 {
			return errors.New("unterminated quote")
		}
		l.word.WriteString(l.text[l.at : l.at+end])
		l.at, l.began, l.quoted = l.at+end+1, true, true
		return nil
	case '"':
		return l.double()
	case '$':
		return l.variable()
	case '\\':
		if l.at == len(l.text) {
			return errors.New("nothing after backslash")
		}
		c, l.quoted = l.text[l.at], true
		l.at++
	case '=':
		name := l.word.String()
		l.assigns = l.assigns || len(l.words) == 0 && !l.quoted && name != "" && nameLength(name) == len(name)
	case '&', '<', '>', '(', ')', '`', '#', '*':
		return fmt.Errorf("%q is not supported", c)
	}
	l.word.WriteByte(c)
	l.began = true
	return nil
}

func (l *lexer) double() error {
	l.began, l.quoted = true, true
	for l.at < len(l.text) {
		c := l.text[l.at]
		l.at++
		switch {
		case c == '"':
			return nil
		case c == '$':
			if err := l.variable(); err != nil {
				return err
			}
			continue
		case c == '`':
			return errors.New("'`' is not supported")
		case c == '\\' && l.at < len(l.text) && strings.IndexByte("\"\\$`", l.text[l.at]) >= 0:
			c = l.text[l.at]
			l.at++
		}
		l.word.WriteByte(c)
	}
	return errors.New("unterminated quote")
}

// variable reads what follows a dollar sign.
func (l *lexer) variable() error {
	rest := l.text[l.at:]
	name, length := "", 0
	l.quoted = true
	switch {
	case strings.HasPrefix(rest, "("):
		return l.substitution()
	case strings.HasPrefix(rest, "{"):
		end := strings.IndexByte(rest, '}')
		if end < 0 || nameLength(rest[1:end]) != end-1 || end == 1 {
			return errors.New("only ${NAME} is supported")
		}
		name, length = rest[1:end], end+1
	case strings.HasPrefix(rest, "?"):
		name, length = "?", 1
	default:
		length = nameLength(rest)
		name = rest[:length]
	}
	if name == "" {
		return errors.New("'$' without a name is not supported")
	}
	l.at += length
	value := l.with.expand(name)
	l.word.WriteString(value)
	l.began = l.began || value != ""
	return nil
}

// substitution reads $(COMMANDS).
func (l *lexer) substitution() error {
	rest := l.text[l.at:]
	end, err := closing(rest)
	if err != nil {
		return err
	}
	l.at += end + 1
	value := l.with.substitute(rest[1:end])
	l.word.WriteString(value)
	l.began = l.began || value != ""
	return nil
}

// closing is where the parenthesis ends with which text begins, past quotes and others in it.
func closing(text string) (int, error) {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '\'', '"':
			n := strings.IndexByte(text[i+1:], text[i])
			if n < 0 {
				return 0, errors.New("unterminated quote")
			}
			i += n + 1
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i, nil
			}
		}
	}
	return 0, errors.New("unterminated $(")
}

func nameLength(s string) int {
	for i, r := range s {
		letter := r == '_' || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z')
		if !letter && (i == 0 || r < '0' || r > '9') {
			return i
		}
	}
	return len(s)
}
