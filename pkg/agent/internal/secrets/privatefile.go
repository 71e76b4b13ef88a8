package secrets

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// OpenPrivate opens a regular file that only its owner can read or change. It looks at the
// open file, not at its name, so that what is checked is what is read.
func OpenPrivate(path string) (*os.File, fs.FileInfo, error) {
	file, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, nil, openFault(err)
	}
	info, err := file.Stat()
	if err == nil {
		err = safeFile(info)
	} else {
		err = openFault(err)
	}
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return file, info, nil
}

// ReadBounded reads at most limit bytes; more is an error.
func ReadBounded(from io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(from, limit+1))
	if err != nil {
		return nil, openFault(err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("is larger than %d bytes", limit)
	}
	return data, nil
}

func safeFile(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("is not a regular file: %w", ErrDenied)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("has mode %#o, others can read or change it: run chmod 600 on it: %w", mode, ErrDenied)
	}
	return nil
}

// openFault keeps the cause without repeating the path.
func openFault(err error) error {
	if at, found := errors.AsType[*fs.PathError](err); found {
		err = at.Err
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}
