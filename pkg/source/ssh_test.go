package source_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/source"
)

func TestHungSSH(t *testing.T) {
	t.Parallel()
	needSSHD(t)
	r := newSSHRepo(t)
	r.commit(t, state("1"))
	addr := mute(t)
	hangs(t, r.open(t, func(c *source.GitConfig) { c.URL = "ssh://git@" + addr + "/fleet.git" }))

	// A server that lets in and then does nothing.
	r.stop()
	r.extra = "ForceCommand cat"
	r.start(t, "host")
	g := r.open(t, nil)
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := g.Fetch(ctx, "")
	wantError(t, err, source.ReasonUnreachable, "in time")
	if took := time.Since(start); took < 2*time.Second || took > 2*time.Second+back {
		t.Errorf("back after %s, want 2 s", took)
	}
	r.stop()
	r.extra = ""
	r.start(t, "host")
	fetchOK(t, g)
}

func TestSSHHostKeys(t *testing.T) {
	t.Parallel()
	needSSHD(t)
	r := newSSHRepo(t)
	r.commit(t, state("1"))
	g := r.open(t, nil)
	fetchOK(t, g)
	write(t, r.hosts, "")
	refused(t, g, source.ReasonHostKeyUnknown, r.hosts, "ssh-keyscan")
	r.know(t, "other")
	refused(t, g, source.ReasonHostKeyMismatch, "127.0.0.1")
	rsa, err := exec.Command("sh", "-c", `ssh-keygen -q -t ecdsa -N "" -f "$1" && cat "$1.pub"`, "sh", filepath.Join(r.base, "ecdsa")).Output()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(r.addr)
	write(t, r.hosts, "[127.0.0.1]:"+port+" "+string(rsa))
	refused(t, g, source.ReasonHostKeyMismatch, "no key of a kind")
	r.know(t, "host")
	if out, err := exec.Command("ssh-keygen", "-q", "-H", "-f", r.hosts).CombinedOutput(); err != nil {
		t.Fatalf("hash known_hosts: %v\n%s", err, out)
	}
	hashed, err := os.ReadFile(r.hosts)
	if err != nil || bytes.Contains(hashed, []byte("127.0.0.1")) {
		t.Fatalf("known_hosts is not hashed: %s %v", hashed, err)
	}
	fetchOK(t, g)
	write(t, r.hosts, "@revoked * "+strings.SplitN(string(mustRead(t, filepath.Join(r.base, "host.pub"))), "\n", 2)[0]+"\n")
	refused(t, g, source.ReasonHostKeyMismatch, "revoked")
	if err := os.Remove(r.hosts); err != nil {
		t.Fatal(err)
	}
	refused(t, g, source.ReasonInvalid, "known hosts")
}

func mustRead(t testing.TB, p string) []byte {
	t.Helper()
	data, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestSSHKeys(t *testing.T) {
	t.Parallel()
	needSSHD(t)
	r := newSSHRepo(t)
	r.commit(t, state("1"))
	with := func(p string) *source.Git { return r.open(t, func(c *source.GitConfig) { c.SSH.KeyFile = p }) }
	stranger := r.keygen(t, "stranger")
	refused(t, with(stranger), source.ReasonAuthentication, stranger, "deploy keys")
	refused(t, with(filepath.Join(r.base, "none")), source.ReasonAuthentication, "none")
	refused(t, with(r.key+".pub"), source.ReasonInvalid)
	locked := filepath.Join(r.base, "locked")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "abc123", "-f", locked).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	refused(t, with(locked), source.ReasonInvalid, "passphrase")
	if err := os.Chmod(stranger, 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, with(stranger), source.ReasonInvalid, "chmod 600")
}
