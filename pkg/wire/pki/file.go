package pki

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// openToOthers are the permissions that a file with a key must not give.
const openToOthers = 0o077

// readPrivate reads a file with a key. It looks at the file that it reads, not at the
// name, so that nobody can exchange one for the other in between.
func readPrivate(name string) ([]byte, error) {
	// O_NONBLOCK: opening a FIFO would wait for ever.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator's path
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := checkPrivate(name, info); err != nil {
		return nil, err
	}
	return readLimited(f)
}

func checkPrivate(name string, info os.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file", name)
	case info.Mode().Perm()&openToOthers != 0:
		return fmt.Errorf("%s has mode %04o and holds a private key: chmod 600 it, and make a new key if others may have read it", name, info.Mode().Perm())
	case !ok:
		return fmt.Errorf("%s: its owner can't be told", name)
	}
	return checkOwner(name, int(stat.Uid))
}

func checkOwner(name string, owner int) error {
	if own := os.Geteuid(); owner != own && owner != 0 {
		return fmt.Errorf("%s belongs to user %d, not to user %d that runs this or to root: chown it", name, owner, own)
	}
	return nil
}

func readLimited(f *os.File) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(f, maxBundle+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	if len(data) > maxBundle {
		return nil, fmt.Errorf("%s has more than %d bytes", f.Name(), maxBundle)
	}
	return data, nil
}

func readKey(name string) (crypto.Signer, error) {
	data, err := readPrivate(name)
	if err != nil {
		return nil, err
	}
	key, _, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return key, nil
}

func readBundle(name string) ([]*x509.Certificate, error) {
	f, err := os.Open(name) //nolint:gosec // the operator's path
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := readLimited(f)
	if err != nil {
		return nil, err
	}
	certs, err := parseBundle(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return certs, nil
}

// createFile writes a file that must not exist, and has it on the disk when it returns.
func createFile(name string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) //nolint:gosec // the operator's path
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(name))
	}
	return syncDir(filepath.Dir(name))
}

// replaceFile writes a file (0600) whole or not at all: whenever the machine stops, there
// is the old content or the new one.
func replaceFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(name string) error {
	dir, err := os.Open(name) //nolint:gosec // the folder of a file that was just written
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
