package applet

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// command is one simple command and the operator before it: "" or ";" always run it, "&&" and "||" depend on the last code.
type command struct {
	operator string
	words    []string
}

// shell runs `sh -c SCRIPT`. A script is simple commands joined by &&, ||, ; and newlines, with quotes, backslashes, $NAME,
// ${NAME} and $?. Expansions are not split into fields. Everything else (pipes, redirections, substitutions) is refused.
func shell(ctx context.Context, p Process, args []string) int {
	if len(args) < 2 || (args[0] != "-c" && args[0] != "-ec") {
		return p.fail(exitUsage, errors.New("sh: only `sh -c SCRIPT` is known"))
	}
	code := 0
	expand := func(name string) string {
		if name == "?" {
			return strconv.Itoa(code)
		}
		return p.lookup()(name)
	}
	rest := args[1]
	for {
		next, tail, err := parse(rest, expand)
		if err != nil {
			return p.fail(exitUsage, fmt.Errorf("sh: %w", err))
		}
		if len(next.words) > 0 && next.applies(code) {
			if next.words[0] == "exec" && len(next.words) > 1 {
				return Run(ctx, p.with(next.words[1:]))
			}
			leave := next.words[0] == "exit"
			if leave && len(next.words) == 1 {
				return code
			}
			if code = Run(ctx, p.with(next.words)); leave {
				return code
			}
		}
		if ctx.Err() != nil || tail == "" {
			return code
		}
		rest = tail
	}
}

func (c command) applies(last int) bool {
	switch c.operator {
	case "&&":
		return last == 0
	case "||":
		return last != 0
	default:
		return true
	}
}

// lexer reads one command; expand is asked for variables when they are reached, so that $? is that of the command before.
type lexer struct {
	text   string
	at     int
	expand func(string) string
	word   strings.Builder
	began  bool
	words  []string
}

// parse reads the first command of script, which may start with the operator that joins it to the one before.
func parse(script string, expand func(string) string) (command, string, error) {
	l := &lexer{text: script, expand: expand}
	operator := l.operator()
	for l.at < len(l.text) && !l.startsOperator() {
		if err := l.step(); err != nil {
			return command{}, "", err
		}
	}
	l.endWord()
	if len(l.words) == 0 && (operator == "&&" || operator == "||") {
		return command{}, "", fmt.Errorf("no command after %s", operator)
	}
	return command{operator: operator, words: l.words}, l.text[l.at:], nil
}

func (l *lexer) operator() string {
	l.at += len(l.text[l.at:]) - len(strings.TrimLeft(l.text[l.at:], " \t"))
	for _, op := range []string{"&&", "||", ";", "\n"} {
		if strings.HasPrefix(l.text[l.at:], op) {
			l.at += len(op)
			return op
		}
	}
	return ""
}

func (l *lexer) startsOperator() bool {
	rest := l.text[l.at:]
	return rest[0] == ';' || rest[0] == '\n' || strings.HasPrefix(rest, "&&") || strings.HasPrefix(rest, "||")
}

func (l *lexer) endWord() {
	if l.began {
		l.words = append(l.words, l.word.String())
	}
	l.word.Reset()
	l.began = false
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
		l.at, l.began = l.at+end+1, true
		return nil
	case '"':
		return l.double()
	case '$':
		return l.variable()
	case '\\':
		if l.at == len(l.text) {
			return errors.New("nothing after backslash")
		}
		c = l.text[l.at]
		l.at++
	case '|', '&', '<', '>', '(', ')', '`', '#', '*':
		return fmt.Errorf("%q is not supported", c)
	}
	l.word.WriteByte(c)
	l.began = true
	return nil
}

func (l *lexer) double() error {
	l.began = true
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
	switch {
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
	value := l.expand(name)
	l.word.WriteString(value)
	l.began = l.began || value != ""
	return nil
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
