package pki_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/wire/pki"
)

func TestKeyStoreKeepsWhatFits(t *testing.T) {
	a := authority(t)
	dir := filepath.Join(t.TempDir(), "keys")
	s, err := pki.OpenKeyStore(dir)
	must(t, err)
	if _, err := s.Load(); !errors.Is(err, pki.ErrNotEnrolled) {
		t.Fatalf("an empty store: %v", err)
	}
	first, err := a.IssueNode("b", request(t, s))
	must(t, err)
	installed, err := s.Install(grant(first.Chain, a.BundleDER()))
	must(t, err)
	s, err = pki.OpenKeyStore(dir)
	must(t, err)
	loaded, err := s.Load()
	must(t, err)
	if loaded.Identity != installed.Identity || loaded.Identity.Serial != first.Serial {
		t.Errorf("loaded %+v, installed %+v", loaded.Identity, installed.Identity)
	}
	files(t, dir, "identity.pem")

	// A renewal takes a new key.
	second, err := a.IssueNode("b", request(t, s))
	must(t, err)
	if _, err := s.Install(grant(first.Chain, a.BundleDER())); err == nil {
		t.Error("a certificate for another key was installed")
	}
	if again, err := s.Load(); err != nil || again.Identity.Serial != first.Serial {
		t.Errorf("after a refused certificate: %v, %v", again, err)
	}
	renewed, err := s.Install(grant(second.Chain, a.BundleDER()))
	must(t, err)
	if bytes.Equal(renewed.Certificate.Leaf.RawSubjectPublicKeyInfo, loaded.Certificate.Leaf.RawSubjectPublicKeyInfo) {
		t.Error("the renewed certificate has the old key")
	}
}

func files(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var got []string
	for _, e := range entries {
		info, err := e.Info()
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %04o", e.Name(), info.Mode().Perm())
		}
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the store has %v, want %v", got, want)
	}
}

// TestKeyStoreSurvivesCrashes stops at each point in which a process can be stopped.
func TestKeyStoreSurvivesCrashes(t *testing.T) {
	a := authority(t)
	dir := filepath.Join(t.TempDir(), "keys")
	s, err := pki.OpenKeyStore(dir)
	must(t, err)
	first := request(t, s)

	// After the request: the same key is asked for again.
	s, err = pki.OpenKeyStore(dir)
	must(t, err)
	second := request(t, s)
	if fingerprint(t, first) != fingerprint(t, second) {
		t.Error("after a crash the request has another key")
	}
	// While a file is written.
	must(t, os.WriteFile(filepath.Join(dir, ".identity.pem.123"), []byte("half"), 0o600))
	s, err = pki.OpenKeyStore(dir)
	must(t, err)
	request(t, s)
	files(t, dir, "pending.pem")
	// Between the new identity and the end of the pending key.
	pending, err := os.ReadFile(filepath.Join(dir, "pending.pem"))
	must(t, err)
	issued, err := a.IssueNode("b", second)
	must(t, err)
	_, err = s.Install(grant(issued.Chain, a.BundleDER()))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "pending.pem"), pending, 0o600))
	s, err = pki.OpenKeyStore(dir)
	must(t, err)
	if c, err := s.Load(); err != nil || c.Identity.Serial != issued.Serial {
		t.Errorf("after a crash: %v, %v", c, err)
	}
	// A pending key that the disk has lost.
	must(t, os.WriteFile(filepath.Join(dir, "pending.pem"), nil, 0o600))
	request(t, s)
}

func fingerprint(t *testing.T, csr []byte) string {
	t.Helper()
	key, err := pki.ParseCSR(csr)
	must(t, err)
	return key.Fingerprint()
}

func TestKeyStoreRefuses(t *testing.T) {
	a := authority(t)
	t.Run("an open folder", func(t *testing.T) {
		dir := t.TempDir()
		must(t, os.Chmod(dir, 0o750)) //nolint:gosec // the defect
		if _, err := pki.OpenKeyStore(dir); err == nil || !strings.Contains(err.Error(), "chmod 700") {
			t.Errorf("opened: %v", err)
		}
	})
	t.Run("a certificate of another authority", func(t *testing.T) {
		s := store(t)
		issued, err := a.IssueNode("b", request(t, s))
		must(t, err)
		if _, err := s.Install(grant(issued.Chain, authority(t).BundleDER())); err == nil {
			t.Error("installed")
		}
	})
	t.Run("a certificate of another node", func(t *testing.T) {
		s := store(t)
		issued, err := a.IssueNode("c", request(t, s))
		must(t, err)
		if _, err := s.Install(grant(issued.Chain, a.BundleDER())); err == nil {
			t.Error("installed")
		}
	})
	t.Run("a certificate without a request", func(t *testing.T) {
		s := store(t)
		issued, err := a.IssueNode("b", request(t, store(t)))
		must(t, err)
		if _, err := s.Install(grant(issued.Chain, a.BundleDER())); err == nil {
			t.Error("installed")
		}
	})
	t.Run("files that others can read", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "keys")
		s, err := pki.OpenKeyStore(dir)
		must(t, err)
		request(t, s)
		must(t, os.Chmod(filepath.Join(dir, "pending.pem"), 0o644)) //nolint:gosec // the defect
		if _, err := s.Request(); err == nil {
			t.Error("a key that others may have read was used")
		}
	})
}

func TestRenewalAfterTwoThirds(t *testing.T) {
	a := authority(t).WithLifetime(30 * 24 * time.Hour)
	spread := map[time.Duration]bool{}
	for range 8 {
		c := enrol(t, a, "b")
		life := c.NotAfter().Sub(c.Certificate.Leaf.NotBefore)
		at := c.NextRenewal().Sub(c.Certificate.Leaf.NotBefore)
		if at < life*2/3 || at > life*3/4 {
			t.Errorf("renewal after %s of %s", at, life)
		}
		if again := c.NextRenewal().Sub(c.Certificate.Leaf.NotBefore); again != at {
			t.Error("the time of renewal moves")
		}
		spread[at.Truncate(time.Minute)] = true
	}
	if len(spread) < 2 {
		t.Error("all nodes renew at the same time")
	}
}

// TestReplacingTheAuthority goes through the steps of docs/spec/security.md.
func TestReplacingTheAuthority(t *testing.T) {
	oldDir, newDir := t.TempDir(), t.TempDir()
	old, err := pki.Create(oldDir)
	must(t, err)
	next, err := pki.Create(newDir)
	must(t, err)
	// 1. The old one signs, both are told.
	both := append(old.BundlePEM(), next.BundlePEM()...)
	must(t, os.WriteFile(filepath.Join(oldDir, pki.CertFile), both, 0o600))
	old, err = load(oldDir)
	must(t, err)
	c := enrol(t, old, "b")
	// 2. The new one signs; the old one is still trusted.
	must(t, os.WriteFile(filepath.Join(newDir, pki.CertFile), append(next.BundlePEM(), old.BundlePEM()...), 0o600))
	next, err = load(newDir)
	must(t, err)
	client := clientConfig(c)
	if _, err := handshake(t, serverConfig(t, next), client); err != nil {
		t.Errorf("a node of the old authority at a controller of the new one: %v", err)
	}
	if _, err := handshake(t, serverConfig(t, old), clientConfig(enrol(t, next, "b"))); err != nil {
		t.Errorf("a node of the new authority at a controller that was not restarted: %v", err)
	}
}
