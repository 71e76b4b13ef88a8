package applet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"
)

// command is one simple command and the operator before it: "" or ";" always run it, "&&" and "||" depend on the last code,
// "|" makes the output of the one before its input.
type command struct {
	operator string
	words    []string
	// assigned are the variables that a command without words sets.
	assigned []string
}

// shell runs `sh -c SCRIPT`. A script is simple commands joined by |, &&, ||, ; and newlines, and assignments, with quotes,
// backslashes, $NAME, ${NAME}, $? and $(COMMANDS). Expansions are not split into fields; what a pipe joins runs one after the
// other. Everything else (redirections, compound commands) is refused.
func shell(ctx context.Context, p Process, args []string) int {
	if len(args) < 2 || (args[0] != "-c" && args[0] != "-ec") {
		return p.fail(exitUsage, errors.New("sh: only `sh -c SCRIPT` is known"))
	}
	s := &script{ctx: ctx, p: p, vars: map[string]string{}}
	return s.run(args[1])
}

// script is a script that runs.
type script struct {
	ctx  context.Context //nolint:containedctx // of the one run that the script is
	p    Process
	vars map[string]string
	code int
	// substituted is the code of the last $(COMMANDS) of the command that is read.
	substituted int
}

func (s *script) run(text string) int {
	var pipe io.Reader // what the command before has put into a pipe
	ran := true
	for {
		s.substituted = 0
		next, tail, err := parse(text, s)
		if err != nil {
			return s.p.fail(exitUsage, fmt.Errorf("sh: %w", err))
		}
		ran = next.applies(s.code) && (next.operator != "|" || ran)
		p, out := s.p, &bytes.Buffer{}
		if pipe != nil {
			p.Stdin, pipe = pipe, nil
		}
		if pipes(tail) {
			p.Stdout, pipe = out, out
		}
		if ran && len(next.words)+len(next.assigned) > 0 {
			if ended := s.command(p, next); ended {
				return s.code
			}
		}
		if s.ctx.Err() != nil || tail == "" {
			return s.code
		}
		text = tail
	}
}

// command runs one command, and says that the script ends with it.
func (s *script) command(p Process, c command) (ended bool) {
	if len(c.words) == 0 {
		s.assign(c.assigned)
		s.code = s.substituted
		return false
	}
	if c.words[0] == "exec" && len(c.words) > 1 {
		s.code = Run(s.ctx, p.with(c.words[1:]))
		return true
	}
	ended = c.words[0] == "exit"
	if !ended || len(c.words) > 1 {
		s.code = Run(s.ctx, p.with(c.words))
	}
	return ended
}

// assign sets variables; those of the environment stay in it.
func (s *script) assign(pairs []string) {
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		s.vars[name] = value
		for i, kv := range s.p.Environ {
			if strings.HasPrefix(kv, name+"=") {
				s.p.Environ = append(append(s.p.Environ[:i:i], s.p.Environ[i+1:]...), pair)
				break
			}
		}
	}
}

// expand is the value of a variable.
func (s *script) expand(name string) string {
	if name == "?" {
		return strconv.Itoa(s.code)
	}
	if value, ok := s.vars[name]; ok {
		return value
	}
	return s.p.lookup()(name)
}

// substitute is what commands print, without the newlines at its end.
func (s *script) substitute(text string) string {
	var out bytes.Buffer
	inner := &script{ctx: s.ctx, p: s.p, vars: maps.Clone(s.vars), code: s.code}
	inner.p.Stdout = &out
	s.substituted = inner.run(text)
	return strings.TrimRight(out.String(), "\n")
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

// pipes says that the output of a command goes to the one that follows.
func pipes(tail string) bool { return strings.HasPrefix(tail, "|") && !strings.HasPrefix(tail, "||") }
