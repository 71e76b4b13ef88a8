package enginetest

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// Program is how the process of a container behaves. The zero value serves until it gets
// a signal, and then ends with 0.
type Program struct {
	// Exits says that the process ends by itself After its start, with Code.
	Exits bool
	After time.Duration
	Code  int
	// IgnoreTerm leaves only SIGKILL; else the process ends TermAfter the signal with TermCode.
	IgnoreTerm bool
	TermAfter  time.Duration
	TermCode   int
	// Log is printed at the start.
	Log string
}

// Prog is the path of the test program in images of tests. Its commands, for containers,
// execs and healthchecks:
//
//	serve                    until SIGTERM, then exit 0
//	serve-until CODE         likewise, then exit CODE
//	stubborn                 ignores SIGTERM
//	exit CODE [AFTER]        ends with CODE, after a Go duration
//	print TEXT…              prints its arguments and a newline; as a container it serves then
//	touch PATH, exists PATH  make a file, tell by the exit code whether there is one
//	cat [PATH], getenv NAME  print a file or its input, or a variable
const Prog = "/prog"

// ready is made by a program that serves or is stubborn when it handles its signals. What is
// in /dev/shm is gone at the next start.
const ready = "/dev/shm/ready"

// Interpret reads a container's command in the language of the test program. What it
// does not know serves.
func Interpret(argv []string) Program {
	argv = afterExec(argv)
	if len(argv) > 0 && argv[0] == Prog {
		argv = argv[1:]
	}
	if len(argv) == 0 {
		return Program{}
	}
	switch argv[0] {
	case "serve-until":
		return Program{TermCode: number(argv, 1)}
	case "stubborn":
		return Program{IgnoreTerm: true}
	case "exit":
		p := Program{Exits: true, Code: number(argv, 1)}
		if len(argv) > 2 {
			// A malformed duration is zero: the process ends at once.
			p.After, _ = time.ParseDuration(argv[2])
		}
		return p
	case "print":
		return Program{Log: strings.Join(argv[1:], " ")}
	}
	return Program{}
}

func number(argv []string, i int) int {
	if i >= len(argv) {
		return 0
	}
	n, err := strconv.Atoi(argv[i])
	if err != nil {
		return 1
	}
	return n
}

// argv is what a container runs.
func argv(spec *api.ContainerSpec) []string {
	return slices.Concat(spec.Entrypoint, spec.Command)
}

// afterExec is what ktrdr-exec becomes.
func afterExec(argv []string) []string {
	if len(argv) > 1 && argv[0] == api.ExecTarget && argv[1] == "--" {
		return argv[2:]
	}
	return argv
}

// runCommand runs a command inside c. f.mu is held.
func (f *Fake) runCommand(c *container, r engine.ExecRequest) engine.ExecResult {
	argv := r.Command
	if f.Command != nil {
		return f.Command(f.view(c), r)
	}
	argv = afterExec(argv)
	if len(argv) < 2 || argv[0] != Prog {
		return engine.ExecResult{}
	}
	verb, args := argv[1], argv[2:]
	arg := ""
	if len(args) > 0 {
		arg = args[0]
	}
	switch verb {
	case "exit":
		return engine.ExecResult{ExitCode: number(args, 0)}
	case "print":
		return engine.ExecResult{Output: strings.Join(args, " ") + "\n"}
	case "touch":
		c.files[path.Clean(arg)] = ""
	case "exists", "cat":
		if arg == "" {
			return engine.ExecResult{Output: r.Stdin}
		}
		content, ok := c.files[path.Clean(arg)]
		if !ok {
			return engine.ExecResult{ExitCode: 1, Output: "no such file\n"}
		}
		if verb == "cat" {
			return engine.ExecResult{Output: content}
		}
	case "getenv":
		for _, kv := range c.spec.Env {
			if value, ok := strings.CutPrefix(kv, arg+"="); ok {
				return engine.ExecResult{Output: value + "\n"}
			}
		}
		return engine.ExecResult{ExitCode: 1}
	}
	return engine.ExecResult{}
}
