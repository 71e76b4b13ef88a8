package applet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"path"
	"slices"
	"strings"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/environ"
)

// Exit codes with a meaning of their own.
const (
	exitFailure  = 1
	exitUsage    = 2
	exitNotFound = 127
	exitTerm     = 143
)

// Process is what an applet sees of the world.
type Process struct {
	// Args is the whole command line; Args[0] (without its directory) is the applet, or ktrdrsim followed by the applet.
	Args []string
	// Environ is the environment as NAME=value.
	Environ []string
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
}

// run is one applet; args come without its name.
type run func(ctx context.Context, p Process, args []string) int

// Run runs the applet that p names and returns its exit code. ctx ends on SIGTERM: services then stop with 0, sleep with
// 143. An unknown name is looked up as a program in PATH.
func Run(ctx context.Context, p Process) int {
	args := p.Args
	if len(args) > 0 && path.Base(args[0]) == "ktrdrsim" {
		args = args[1:]
	}
	if len(args) == 0 {
		return p.fail(exitUsage, errors.New("usage: ktrdrsim APPLET [ARGUMENT…]"))
	}
	if found := byName(path.Base(args[0])); found != nil {
		return found(ctx, p, args[1:])
	}
	return p.external(ctx, args)
}

func byName(name string) run {
	switch name {
	case "backend":
		return backendApplet
	case "worker":
		return workerApplet
	case "uvicorn":
		return uvicorn
	case "python", "python3":
		return python
	case "db", "postgres":
		return db
	case "pg_isready":
		return pgIsReady
	case "psql":
		return psql
	case "http":
		return httpApplet
	case "prometheus":
		return prometheus
	case "grafana", "run.sh":
		return grafana
	case "jaeger", "all-in-one-linux":
		return fixedHTTP("jaeger", "16686", "4317")
	default:
		return toolByName(name)
	}
}

func toolByName(name string) run {
	switch name {
	case "sh":
		return shell
	case "tini", "docker-entrypoint.sh":
		return entrypoint
	case "sleep":
		return sleep
	case "fail-after":
		return failAfter
	case "curl":
		return curl
	case "wget":
		return wget
	case "cat":
		return cat
	case "env":
		return env
	case "echo":
		return echo
	case "printf":
		return printf
	case "true":
		return func(context.Context, Process, []string) int { return 0 }
	case "false":
		return func(context.Context, Process, []string) int { return exitFailure }
	case "exit":
		return exit
	default:
		return nil
	}
}

// with is p for another command line.
func (p Process) with(args []string) Process {
	p.Args = args
	return p
}

// lookup returns the last value of a variable, as libc does.
func (p Process) lookup() environ.Lookup {
	return func(name string) string {
		for _, kv := range slices.Backward(p.Environ) {
			if v, ok := strings.CutPrefix(kv, name+"="); ok {
				return v
			}
		}
		return ""
	}
}

func (p Process) log() *slog.Logger { return slog.New(slog.NewTextHandler(p.Stderr, nil)) }

// fail tells every line of err and returns code.
func (p Process) fail(code int, err error) int {
	fmt.Fprintf(p.Stderr, "ktrdrsim: %s\n", strings.ReplaceAll(err.Error(), "\n", "\nktrdrsim: "))
	return code
}

// done is the exit code of a service.
func (p Process) done(err error) int {
	if err != nil {
		return p.fail(exitFailure, err)
	}
	return 0
}

// external runs a program of the image that is no applet, such as one that was mounted into it.
func (p Process) external(ctx context.Context, args []string) int {
	program, err := exec.LookPath(args[0])
	if err != nil {
		return p.fail(exitNotFound, fmt.Errorf("%s: not found", args[0]))
	}
	cmd := exec.CommandContext(ctx, program, args[1:]...) //nolint:gosec // running what it is told is the purpose of sh and tini.
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = p.Environ, p.Stdin, p.Stdout, p.Stderr
	err = cmd.Run()
	var ended *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ended) && ended.ExitCode() >= 0:
		return ended.ExitCode()
	default:
		return p.fail(exitFailure, err)
	}
}
