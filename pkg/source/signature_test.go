package source_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ktrdr.io/fleet/pkg/source"
)

// signers makes keys, and files that name some of them.
type signers struct {
	*gitRepo
	allowed, keyring string
	gpgHome          string
}

func newSigners(t testing.TB) *signers {
	t.Helper()
	s := &signers{gitRepo: newGitRepo(t)}
	s.allowed, s.keyring = filepath.Join(s.base, "allowed_signers"), filepath.Join(s.base, "keyring.asc")
	for _, name := range []string{"ann", "eve"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", filepath.Join(s.base, name)).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
	}
	s.allow(t, "ann@example.org "+s.pub(t, "ann"))
	return s
}

func (s *signers) pub(t testing.TB, name string) string {
	t.Helper()
	return strings.TrimSpace(string(mustRead(t, filepath.Join(s.base, name+".pub"))))
}

func (s *signers) allow(t testing.TB, lines ...string) {
	t.Helper()
	write(t, s.allowed, "# who may deploy\n\n"+strings.Join(lines, "\n")+"\n")
}

// ssh commits, signed with a key.
func (s *signers) ssh(t testing.TB, key, content string) string {
	t.Helper()
	s.git(t, s.work, "config", "gpg.format", "ssh")
	s.git(t, s.work, "config", "user.signingkey", filepath.Join(s.base, key))
	return s.commit(t, state(content), "-S", "-m", "signed with ssh\n\nand a body\n")
}

func (s *signers) required(t testing.TB) *source.Git {
	return s.open(t, func(c *source.GitConfig) {
		c.Signatures = source.Signatures{Required: true, AllowedSignersFile: s.allowed}
	})
}

func TestSSHSignatures(t *testing.T) {
	t.Parallel()
	s := newSigners(t)
	g := s.required(t)
	s.commit(t, state("0"))
	refused(t, g, source.ReasonSignatureMissing, "git commit -S")
	good := s.ssh(t, "ann", "1")
	tree := fetchOK(t, g)
	if got := tree.Revision.Signer; !strings.HasPrefix(got, "ssh ann@example.org SHA256:") || tree.Revision.ID != good {
		t.Errorf("signer %q of %s", got, tree.Revision.ID)
	}
	s.ssh(t, "eve", "2")
	refused(t, g, source.ReasonSignatureInvalid, "not in the allowed signers file", "SHA256:")
	if _, ok := g.Cached(good); !ok {
		t.Errorf("the last good tree is gone")
	}
	s.git(t, s.work, "update-ref", "refs/heads/main", good)
	for line, want := range map[string]string{
		`ann@example.org namespaces="file" ` + s.pub(t, "ann"):                                "namespace git",
		`ann@example.org valid-before="20200101" ` + s.pub(t, "ann"):                          "not valid at",
		`ann@example.org valid-after="20990101Z" ` + s.pub(t, "ann"):                          "not valid at",
		`eve@example.org ` + s.pub(t, "eve"):                                                  "not in the allowed signers file",
		`ann@example.org namespaces="file,git",valid-after="202001010000" ` + s.pub(t, "ann"): "",
		`"ann@example.org,x" namespaces="g*" ` + s.pub(t, "ann"):                              "",
	} {
		// A key that is taken away counts at once, also for the commit that is on disk.
		s.allow(t, line)
		if want != "" {
			refused(t, g, source.ReasonSignatureInvalid, want)
			continue
		}
		fetchOK(t, g)
	}
	for line, want := range map[string]string{
		"ann@example.org cert-authority " + s.pub(t, "ann"):   "cert-authority",
		"ann@example.org no-such-option " + s.pub(t, "ann"):   "no-such-option",
		"ann@example.org valid-after=soon " + s.pub(t, "ann"): "soon",
		"ann@example.org":                  "line 3",
		"ann@example.org ssh-ed25519 AAAA": "no readable public key",
		"":                                 "names no signer",
	} {
		s.allow(t, line)
		refused(t, g, source.ReasonInvalid, want)
	}
}

// Whoever can write to the server, but has no key, changes a signed commit's content.
func TestSignatureOfChangedCommit(t *testing.T) {
	t.Parallel()
	s := newSigners(t)
	good := s.ssh(t, "ann", "1")
	evil := s.commit(t, state("evil"))
	signed := s.git(t, s.work, "cat-file", "commit", good) + "\n"
	tree := s.git(t, s.work, "rev-parse", evil+"^{tree}")
	_, rest, _ := strings.Cut(signed, "\n")
	head, body, _ := strings.Cut(signed, "\n\n")
	plain, signature, ok := strings.Cut(head, "gpgsig ")
	if !ok {
		t.Fatalf("git made no signature:\n%s", signed)
	}
	for name, forged := range map[string]string{
		"other tree":           "tree " + tree + "\n" + rest,
		"second tree header":   strings.Replace(signed, "\nauthor", "\ntree "+tree+"\nauthor", 1),
		"tree after signature": head + "\ntree " + tree + "\n\n" + body,
		"other message":        head + "\n\nsomething else\n",
		"two signatures":       head + "\ngpgsig " + signature + "\n\n" + body,
		"signature cut":        strings.Replace(signed, "\n -----END SSH SIGNATURE-----", "", 1),
		"signature of nothing": plain + "gpgsig -----BEGIN SSH SIGNATURE-----\n -----END SSH SIGNATURE-----\n\n" + body,
		"other kind":           plain + "gpgsig -----BEGIN SIGNED MESSAGE-----\n -----END SIGNED MESSAGE-----\n\n" + body,
	} {
		t.Run(name, func(t *testing.T) {
			s.point(t, "commit", forged)
			refused(t, s.required(t), source.ReasonSignatureInvalid)
		})
	}
	// What the forger starts from is accepted, so it was the forgery that was refused.
	s.point(t, "commit", signed)
	fetchOK(t, s.required(t))
}

// point makes main a commit, or a commit of a tree, of exactly these bytes.
func (r *gitRepo) point(t testing.TB, kind, raw string) {
	t.Helper()
	p := filepath.Join(r.base, "raw")
	write(t, p, raw)
	id := r.git(t, r.work, "hash-object", "-t", kind, "-w", "--literally", p)
	if kind == "tree" {
		id = r.git(t, r.work, "commit-tree", "-m", "raw", id)
	}
	r.git(t, r.work, "update-ref", "refs/heads/main", id)
}

func TestSignaturesThatAreNotRequired(t *testing.T) {
	t.Parallel()
	s := newSigners(t)
	cache := filepath.Join(t.TempDir(), "cache")
	optional := func(c *source.GitConfig) {
		c.CacheDir, c.Signatures = cache, source.Signatures{AllowedSignersFile: s.allowed}
	}
	g := s.open(t, optional)
	s.ssh(t, "eve", "1")
	if got := fetchOK(t, g).Revision.Signer; got != "" {
		t.Errorf("signer %q of a strange key", got)
	}
	id := s.commit(t, state("2"))
	if got := fetchOK(t, g).Revision.Signer; got != "" {
		t.Errorf("signer %q of no signature", got)
	}
	// Then they become required: what was stored before without one is not good enough any more.
	strict := s.open(t, func(c *source.GitConfig) { optional(c); c.Signatures.Required = true })
	if got, ok := strict.Cached(id); ok {
		t.Errorf("Cached returns an unsigned tree: %+v", got)
	}
	_, err := strict.Fetch(t.Context(), id)
	wantError(t, err, source.ReasonSignatureMissing)
}

func TestGPGSignatures(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Skip("SKIPPED, no gpg signature is tested: install gnupg")
	}
	s := newSigners(t)
	home, err := os.MkdirTemp("", "gpg") //nolint:usetesting // gpg's sockets need a short path, without the test's name
	if err != nil {
		t.Fatal(err)
	}
	s.gpgHome = home
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		_ = os.RemoveAll(home)
	})
	for _, name := range []string{"ann", "eve"} {
		s.gpg(t, "--quick-generate-key", name+"@example.org", "ed25519", "sign", "never")
	}
	write(t, s.keyring, s.gpg(t, "--armor", "--export", "ann@example.org"))
	g := s.open(t, func(c *source.GitConfig) {
		c.Signatures = source.Signatures{Required: true, GPGKeyringFile: s.keyring, AllowedSignersFile: s.allowed}
	})
	s.gpgCommit(t, "ann", "1")
	if got := fetchOK(t, g).Revision.Signer; !strings.HasPrefix(got, "gpg ann@example.org ") {
		t.Errorf("signer %q", got)
	}
	s.gpgCommit(t, "eve", "2")
	refused(t, g, source.ReasonSignatureInvalid, "gpg keyring")
	s.ssh(t, "ann", "3") // both kinds are accepted side by side
	fetchOK(t, g)
	s.commit(t, state("4"))
	refused(t, g, source.ReasonSignatureMissing)
	s.gpgCommit(t, "ann", "5")
	fetchOK(t, g)
	write(t, s.keyring, "rubbish")
	refused(t, g, source.ReasonInvalid, "gpg keyring")
}

func (s *signers) gpg(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command("gpg", append([]string{"--homedir", s.gpgHome, "--batch", "--quiet", "--passphrase", ""}, args...)...)
	cmd.Env = append(gitEnv(s.base), "GNUPGHOME="+s.gpgHome)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gpg %v: %v", args, err)
	}
	return string(out)
}

func (s *signers) gpgCommit(t testing.TB, who, content string) {
	t.Helper()
	script := filepath.Join(s.base, "gpg.sh")
	func() {
		syscall.ForkLock.RLock() // a program that starts while it is written would keep it from being run
		defer syscall.ForkLock.RUnlock()
		write(t, script, "#!/bin/sh\nexec gpg --homedir '"+s.gpgHome+"' --batch \"$@\"\n")
	}()
	if err := os.Chmod(script, 0o700); err != nil {
		t.Fatal(err)
	}
	s.git(t, s.work, "config", "gpg.format", "openpgp")
	s.git(t, s.work, "config", "gpg.program", script)
	s.commit(t, state(content), "-S"+who+"@example.org")
}
