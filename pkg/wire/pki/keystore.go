package pki

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Files of a KeyStore. Key, certificates and authorities are one file: there is no moment
// in which they don't fit each other.
const (
	identityFile = "identity.pem"
	pendingFile  = "pending.pem"
)

// File is where a store in dir keeps its certificate, as the first one of a PEM file.
func File(dir string) string { return filepath.Join(dir, identityFile) }

// ErrNotEnrolled tells that a store has no certificate yet.
var ErrNotEnrolled = errors.New("there is no certificate yet: join the fleet first")

// KeyStore is the folder (0700) in which a node or an operator keeps its key, its
// certificate and the authorities that it trusts. One process at a time writes it.
type KeyStore struct{ dir string }

// OpenKeyStore makes the folder, or refuses one that others may read or that belongs to
// somebody else.
func OpenKeyStore(dir string) (*KeyStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open key store: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("open key store: %w", err)
	}
	if info.Mode().Perm()&openToOthers != 0 {
		return nil, fmt.Errorf("open key store: %s has mode %04o; it holds private keys: chmod 700 it", dir, info.Mode().Perm())
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("open key store: the owner of %s can't be told", dir)
	}
	if err := checkOwner(dir, int(stat.Uid)); err != nil {
		return nil, fmt.Errorf("open key store: %w", err)
	}
	return &KeyStore{dir: dir}, nil
}

// sweep removes what a crash left half written.
func (s *KeyStore) sweep() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !halfWritten(e.Name()) {
			continue
		}
		if err := os.Remove(s.path(e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func halfWritten(name string) bool {
	return strings.HasPrefix(name, "."+identityFile+".") || strings.HasPrefix(name, "."+pendingFile+".")
}

// Request returns a signing request for a new key, which it keeps until Install. Asked
// again, after a crash or a lost answer, it has the same key: a controller can tell the
// repetition from another one with the same token.
func (s *KeyStore) Request() ([]byte, error) {
	key, err := s.pending()
	if err != nil {
		return nil, fmt.Errorf("make signing request: %w", err)
	}
	return newCSR(key)
}

func (s *KeyStore) pending() (crypto.Signer, error) {
	if err := s.sweep(); err != nil {
		return nil, err
	}
	key, err := readKey(s.path(pendingFile))
	if err == nil {
		return key, nil
	}
	// A damaged one is of no use to anybody; one that others can read is a person's business.
	if info, statErr := os.Stat(s.path(pendingFile)); statErr == nil && info.Mode().Perm()&openToOthers != 0 {
		return nil, err
	}
	fresh, err := newKey()
	if err != nil {
		return nil, err
	}
	text, err := keyPEM(fresh)
	if err != nil {
		return nil, err
	}
	if err := replaceFile(s.path(pendingFile), text); err != nil {
		return nil, err
	}
	return fresh, nil
}

// Grant is the answer to a signing request.
type Grant struct {
	// Kind and Name are who the certificate must be for.
	Kind Kind
	Name string
	// Chain is in DER, the leaf first.
	Chain [][]byte
	// Authorities are in DER, one after the other.
	Authorities []byte
}

// Install puts the answer to Request in force. It refuses, and keeps what was there, unless
// the leaf is for the requested key and the expected identity and is signed by one of the
// authorities.
func (s *KeyStore) Install(g Grant) (*Credentials, error) {
	key, err := readKey(s.path(pendingFile))
	if err != nil {
		return nil, fmt.Errorf("install certificate: read the requested key: %w", err)
	}
	certs, err := parseChain(g.Chain)
	if err != nil {
		return nil, fmt.Errorf("install certificate: %w", err)
	}
	roots, err := parseBundleDER(g.Authorities)
	if err != nil {
		return nil, fmt.Errorf("install certificate: %w", err)
	}
	c, err := newCredentials(key, certs, roots)
	if err != nil {
		return nil, fmt.Errorf("install certificate: %w", err)
	}
	if c.Identity.Kind != g.Kind || c.Identity.Name != g.Name {
		return nil, fmt.Errorf("install certificate: it is for %s, not for %s %s", c.Identity, g.Kind, g.Name)
	}
	text, err := encodeCredentials(key, certs, roots)
	if err != nil {
		return nil, fmt.Errorf("install certificate: %w", err)
	}
	if err := replaceFile(s.path(identityFile), text); err != nil {
		return nil, fmt.Errorf("install certificate: %w", err)
	}
	// Left behind it would only make the next request use the same key.
	if err := os.Remove(s.path(pendingFile)); err != nil {
		return nil, fmt.Errorf("install certificate: %w", err)
	}
	return c, nil
}

// Load reads what is in force; ErrNotEnrolled if there is nothing. A certificate that has
// ended is returned: what to do about it is the caller's decision.
func (s *KeyStore) Load() (*Credentials, error) {
	data, err := readPrivate(s.path(identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load certificate from %s: %w", s.dir, ErrNotEnrolled)
	}
	if err != nil {
		return nil, fmt.Errorf("load certificate: %w", err)
	}
	c, err := parseCredentials(data)
	if err != nil {
		return nil, fmt.Errorf("load certificate: %s: %w", s.path(identityFile), err)
	}
	return c, nil
}

func (s *KeyStore) path(name string) string { return filepath.Join(s.dir, name) }
