package deliver

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const (
	// execName is the name of the program and of its copies.
	execName = "ktrdr-exec"
	// maxExec bounds the program, in bytes.
	maxExec = 32 << 20
	// copiesMode lets containers of any user pass through.
	copiesMode = 0o755
	execMode   = 0o555
)

// copyExec copies the program to <copies>/<digest>/ktrdr-exec and returns that path. The
// copy of one content is made once and never changed: containers keep theirs when the
// agent and its ktrdr-exec are replaced.
func copyExec(program, copies string) (string, error) {
	data, err := readExec(program)
	if err != nil {
		return "", fmt.Errorf("ktrdr-exec at %s: %w; it is installed beside ktrdr-agent, or named by execPath of agent.yaml", program, err)
	}
	sum := sha256.Sum256(data)
	dir := filepath.Join(copies, hex.EncodeToString(sum[:]))
	path := filepath.Join(dir, execName)
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, data) { //nolint:gosec // below our own folder
		return path, errors.Join(os.Chmod(path, execMode), mayExec(dir)) //nolint:gosec // containers of any user run it
	}
	if err := writeExec(dir, data); err != nil {
		return "", fmt.Errorf("copy ktrdr-exec to %s: %w", dir, err)
	}
	return path, nil
}

func readExec(program string) ([]byte, error) {
	in, err := os.Open(program) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer in.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(io.LimitReader(in, maxExec+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxExec {
		return nil, fmt.Errorf("more than %d bytes", maxExec)
	}
	return data, static(data)
}

// static refuses what can't run in every image.
func static(data []byte) error {
	file, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return errors.New("not a Linux program")
	}
	for _, p := range file.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("not a static program: build it with CGO_ENABLED=0")
		}
	}
	return nil
}

// writeExec makes the copy complete and durable before it gets its name.
func writeExec(dir string, data []byte) error {
	if err := os.MkdirAll(dir, copiesMode); err != nil { //nolint:gosec // see copiesMode
		return err
	}
	if err := errors.Join(os.Chmod(filepath.Dir(dir), copiesMode), os.Chmod(dir, copiesMode), mayExec(dir)); err != nil { //nolint:gosec // see copiesMode
		return err
	}
	out, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return err
	}
	_, err = out.Write(data)
	err = errors.Join(err, out.Chmod(execMode), out.Sync(), out.Close())
	if err == nil {
		err = os.Rename(out.Name(), filepath.Join(dir, execName))
	}
	if err != nil {
		return errors.Join(err, os.Remove(out.Name()))
	}
	return nil
}

// listCopies are the folders of all copies.
func listCopies(copies string) []string {
	entries, err := os.ReadDir(copies)
	if err != nil {
		return nil
	}
	var dirs []string
	for _, entry := range entries {
		if raw, err := hex.DecodeString(entry.Name()); err == nil && len(raw) == sha256.Size {
			dirs = append(dirs, filepath.Join(copies, entry.Name()))
		}
	}
	return dirs
}
