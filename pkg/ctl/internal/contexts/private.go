package contexts

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ReadPrivate reads a file that holds secrets, at most 1 MiB; one that others can use is
// an error.
func ReadPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // a file that was only read
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s is a folder", path)
	case info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s holds secrets and others can use it (mode %04o): run `chmod 600 %s`", path, info.Mode().Perm(), path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return text, nil
}

// WritePrivate writes a file that only its owner can read (0600), as a whole or not at
// all: whoever reads it meanwhile has the one before.
func WritePrivate(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".ktrdr-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	if err := write(f, text); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}

// CheckPrivate says beforehand why WritePrivate would fail, for what can't be made twice.
func CheckPrivate(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".ktrdr-*")
	if err != nil {
		return fmt.Errorf("%s can't be written: %w", path, err)
	}
	_ = f.Close()
	return os.Remove(f.Name())
}

func write(f *os.File, text []byte) error {
	_, err := f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
