// Command ktrdr-exec is the entrypoint shim of containers that use secrets: it fills the
// values in and becomes the image's own program, so that PID 1 is the application.
//
// A reference in the environment or in an argument stands there as a placeholder (see
// pkg/api.Placeholder). The value is read from the secrets folder, which is a read-only
// bind of memory of the host; nothing is written anywhere.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
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

const (
	// defaultDir is where the agent binds the values.
	defaultDir = "/.ktrdr/secrets"
	// dirVariable names another folder.
	dirVariable = "KTRDR_SECRETS_DIR"
	// maxValue bounds one value, in bytes.
	maxValue = 1 << 20
)

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
	if len(argv) > 0 && argv[0] == "--" {
		argv = argv[1:]
	}
	if len(argv) == 0 {
		fmt.Fprintln(stderr, "ktrdr-exec: name a program: ktrdr-exec PROGRAM [ARGUMENT...]")
		return exitUsage
	}
	dir, env := takeDir(env)
	argv, err := expandAll(dir, argv)
	if err == nil {
		env, err = expandAll(dir, env)
	}
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
	dir = defaultDir
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, dirVariable+"="); ok {
			dir = v
			continue
		}
		rest = append(rest, kv)
	}
	return dir, rest
}

func expandAll(dir string, list []string) ([]string, error) {
	out := make([]string, len(list))
	for i, s := range list {
		var err error
		if out[i], err = api.Expand(s, func(ref string) (string, error) { return read(dir, ref) }); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// read returns the value of a reference. The file's name is a hash, because references
// hold slashes and spaces.
func read(dir, ref string) (string, error) {
	f, err := os.Open(filepath.Join(dir, fileName(ref)))
	if err != nil {
		return "", fmt.Errorf("no value for %s in %s; the agent of the node has to deliver it before the start", ref, dir)
	}
	defer f.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(f, maxValue+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read the value of %s: %w", ref, err)
	case len(data) > maxValue:
		return "", fmt.Errorf("the value of %s is larger than %d bytes", ref, maxValue)
	case bytes.IndexByte(data, 0) >= 0:
		return "", fmt.Errorf("the value of %s holds a zero byte, which neither environment nor arguments can", ref)
	}
	return string(data), nil
}

// fileName is the name of the file that holds the value of a reference.
func fileName(ref string) string {
	sum := sha256.Sum256([]byte(ref))
	return hex.EncodeToString(sum[:])
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
