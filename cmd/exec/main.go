// Command ktrdr-exec is the entrypoint shim of containers that use secrets: it fills the
// values in and becomes the image's own program, so that PID 1 is the application.
//
// A reference in the environment or in an argument stands there as a placeholder (see
// pkg/api.Placeholder). The value is read from the secrets folder, which is a read-only
// bind of memory of the host; nothing is written anywhere. In the text of `sh -c` a
// placeholder becomes a quoted variable, so that no shell ever parses a value.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"ktrdr.io/fleet/pkg/api"
)

// dirVariable names another folder than the one where the agent binds the values.
const dirVariable = "KTRDR_SECRETS_DIR"

// Exit codes as shells and engines use them.
const (
	exitUsage   = 125 // the shim itself failed
	exitNoExec  = 126 // the program can't be run
	exitMissing = 127 // there is no such program
)

func main() { os.Exit(run(os.Args[1:], os.Environ(), os.Stderr, syscall.Exec)) }

// run fills in argv and env and calls exec, which only returns on failure. What it prints
// names references, never values.
func run(argv, env []string, stderr io.Writer, exec func(argv0 string, argv, env []string) error) int {
	switch {
	case len(argv) > 0 && argv[0] == "--":
		argv = argv[1:]
	case len(argv) == 1 && argv[0] == "--version":
		fmt.Fprintln(stderr, "ktrdr-exec", api.Version, api.Commit)
		return 0
	}
	if len(argv) == 0 {
		fmt.Fprintln(stderr, "ktrdr-exec: name a program: ktrdr-exec PROGRAM [ARGUMENT...]")
		return exitUsage
	}
	dir, env := takeDir(env)
	argv, env, err := fill(folder(dir), argv, env)
	if err != nil {
		fmt.Fprintln(stderr, "ktrdr-exec:", err)
		return exitUsage
	}
	program, err := lookup(argv[0], env)
	if err == nil {
		err = exec(program, argv, env)
	}
	fmt.Fprintf(stderr, "ktrdr-exec: run %s: %v\n", filepath.Base(program), err)
	if errors.Is(err, fs.ErrNotExist) {
		return exitMissing
	}
	return exitNoExec
}

// takeDir takes the shim's own variable out of the environment.
func takeDir(env []string) (dir string, rest []string) {
	dir = filepath.Join(api.SecretsTarget, api.SecretsCurrent)
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, dirVariable+"="); ok {
			dir = v
			continue
		}
		rest = append(rest, kv)
	}
	return dir, rest
}

// fill replaces placeholders in arguments and environment.
func fill(values folder, argv, env []string) (filledArgv, filledEnv []string, err error) {
	text := shellText(argv)
	var variables []string
	for i, word := range argv {
		if i == text {
			if word, variables, err = quote(word, values); err != nil {
				return nil, nil, err
			}
		} else if word, err = api.Expand(word, values.read); err != nil {
			return nil, nil, err
		}
		filledArgv = append(filledArgv, word)
	}
	for _, kv := range env {
		full, err := api.Expand(kv, values.read)
		if err != nil {
			return nil, nil, err
		}
		if full != kv && len(full) > api.MaxVariable {
			name, _, _ := strings.Cut(kv, "=")
			return nil, nil, fmt.Errorf("variable %s is longer than %d bytes with the value of %s; use a file of `secrets:`", name, api.MaxVariable, strings.Join(api.References(kv), " and "))
		}
		filledEnv = append(filledEnv, full)
	}
	return filledArgv, append(filledEnv, variables...), nil
}

// folder holds the values.
type folder string

// read returns the value of a reference.
func (f folder) read(ref string) (string, error) {
	in, err := os.Open(filepath.Join(string(f), api.SecretFileName(ref)))
	if err != nil {
		return "", fmt.Errorf("no value for %s in %s; the agent of the node has to deliver it before the start", ref, string(f))
	}
	defer in.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(in, api.MaxSecret+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read the value of %s: %w", ref, err)
	case len(data) > api.MaxSecret:
		return "", fmt.Errorf("the value of %s is larger than %d bytes", ref, api.MaxSecret)
	case bytes.IndexByte(data, 0) >= 0:
		return "", fmt.Errorf("the value of %s holds a zero byte, which neither environment nor arguments can", ref)
	}
	return string(data), nil
}

// lookup finds a program as execvp does, in the PATH that the program itself will have.
func lookup(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	for dir := range strings.SplitSeq(path, ":") {
		if dir == "" {
			dir = "."
		}
		full := filepath.Join(dir, name)
		if info, err := os.Stat(full); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return full, nil
		}
	}
	return name, fmt.Errorf("not in PATH: %w", fs.ErrNotExist)
}
