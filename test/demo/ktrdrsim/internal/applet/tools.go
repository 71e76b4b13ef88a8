package applet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// entrypoint runs the rest of its command line, as tini and the database image's entrypoint do.
func entrypoint(ctx context.Context, p Process, args []string) int {
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		args = args[1:]
	}
	if len(args) == 0 {
		return p.fail(exitUsage, errors.New("entrypoint: no command given"))
	}
	return Run(ctx, p.with(args))
}

// sleep ends with 143 on SIGTERM, as the real one does where it is not process 1.
func sleep(ctx context.Context, p Process, args []string) int {
	if len(args) != 1 {
		return p.fail(exitUsage, errors.New("sleep: want one duration"))
	}
	if args[0] == "infinity" {
		<-ctx.Done()
		return exitTerm
	}
	length, err := seconds(args[0])
	if err != nil {
		return p.fail(exitFailure, fmt.Errorf("sleep: %w", err))
	}
	return wait(ctx, length, 0)
}

// failAfter is a release that crashes: `fail-after DURATION [CODE]`.
func failAfter(ctx context.Context, p Process, args []string) int {
	if len(args) < 1 || len(args) > 2 {
		return p.fail(exitUsage, errors.New("fail-after: want a duration and perhaps an exit code"))
	}
	length, err := seconds(args[0])
	if err != nil {
		return p.fail(exitUsage, fmt.Errorf("fail-after: %w", err))
	}
	code := exitFailure
	if len(args) == 2 {
		if code, err = exitCode(args[1]); err != nil {
			return p.fail(exitUsage, fmt.Errorf("fail-after: %w", err))
		}
	}
	return wait(ctx, length, code)
}

func wait(ctx context.Context, length time.Duration, code int) int {
	select {
	case <-ctx.Done():
		return exitTerm
	case <-time.After(length):
		return code
	}
}

// seconds reads a duration as sleep does: a number, or a number with a unit.
func seconds(raw string) (time.Duration, error) {
	if n, err := strconv.ParseFloat(raw, 64); err == nil && n >= 0 && n < 1e9 {
		return time.Duration(n * float64(time.Second)), nil
	}
	d, err := time.ParseDuration(raw)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("invalid time interval %q", raw)
	}
	return d, nil
}

func exitCode(raw string) (int, error) {
	n, err := strconv.ParseUint(raw, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("exit code %q: want 0 to 255", raw)
	}
	return int(n), nil
}

func exit(_ context.Context, p Process, args []string) int {
	if len(args) == 0 {
		return 0
	}
	code, err := exitCode(args[0])
	if err != nil {
		return p.fail(exitUsage, err)
	}
	return code
}

func echo(_ context.Context, p Process, args []string) int {
	fmt.Fprintln(p.Stdout, strings.Join(args, " "))
	return 0
}

func cat(_ context.Context, p Process, args []string) int {
	if len(args) == 0 {
		if _, err := io.Copy(p.Stdout, p.Stdin); err != nil {
			return p.fail(exitFailure, fmt.Errorf("cat: %w", err))
		}
		return 0
	}
	for _, name := range args {
		if err := copyFile(p.Stdout, name); err != nil {
			return p.fail(exitFailure, fmt.Errorf("cat: %w", err))
		}
	}
	return 0
}

func copyFile(out io.Writer, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(out, file)
	return err
}

// env prints the sorted names of all variables, or with a name the bare value of that one (exit 1 when it is not set).
// Values never come out by accident.
func env(_ context.Context, p Process, args []string) int {
	if len(args) > 1 {
		return p.fail(exitUsage, errors.New("env: want no argument or one name"))
	}
	if len(args) == 1 {
		return printValue(p, args[0])
	}
	var names []string
	for _, pair := range p.Environ {
		name, _, _ := strings.Cut(pair, "=")
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		fmt.Fprintln(p.Stdout, name)
	}
	return 0
}

func printValue(p Process, name string) int {
	isName := func(pair string) bool { return strings.HasPrefix(pair, name+"=") }
	if !slices.ContainsFunc(p.Environ, isName) {
		return exitFailure
	}
	fmt.Fprint(p.Stdout, p.lookup()(name))
	return 0
}
