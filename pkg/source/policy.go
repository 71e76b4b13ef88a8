package source

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// maxKeyBytes bounds key, certificate and token files.
const maxKeyBytes = 4 << 20

// policy is the signature configuration with its files read. They are read at every Fetch: removing a key counts at once.
type policy struct {
	required bool
	gpg      openpgp.EntityList
	ssh      []allowedSigner
	digest   [sha256.Size]byte
}

func readPolicy(cfg Signatures) (policy, error) {
	p := policy{required: cfg.Required}
	sum := sha256.New()
	fmt.Fprintf(sum, "%t\n", cfg.Required)
	if cfg.GPGKeyringFile != "" {
		data, err := readSmall(cfg.GPGKeyringFile)
		if err != nil {
			return p, fail(ReasonInvalid, "read gpg keyring: %w", err)
		}
		if p.gpg, err = openpgp.ReadArmoredKeyRing(bytes.NewReader(data)); err != nil {
			return p, fail(ReasonInvalid, "read gpg keyring %s (gpg --export --armor makes one): %w", cfg.GPGKeyringFile, err)
		}
		fmt.Fprintf(sum, "gpg %d\n%s", len(data), data)
	}
	if cfg.AllowedSignersFile != "" {
		data, err := readSmall(cfg.AllowedSignersFile)
		if err != nil {
			return p, fail(ReasonInvalid, "read allowed signers: %w", err)
		}
		if p.ssh, err = parseAllowedSigners(data); err != nil {
			return p, fail(ReasonInvalid, "read allowed signers %s: %w", cfg.AllowedSignersFile, err)
		}
		fmt.Fprintf(sum, "ssh %d\n%s", len(data), data)
	}
	sum.Sum(p.digest[:0])
	return p, nil
}

// readSmall reads a configuration file that the operator wrote.
func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyBytes+1))
	if err == nil && len(data) > maxKeyBytes {
		err = fmt.Errorf("%s has more than %d bytes", name, maxKeyBytes)
	}
	return data, err
}

// verify returns who signed the commit. Without Required, a signature that can't be verified counts as none.
func (p policy) verify(commit []byte, when time.Time) (string, error) {
	payload, signature, err := splitSignature(commit)
	var signer string
	if err == nil {
		signer, err = p.check(payload, signature, when)
	}
	if err != nil && !p.required {
		return "", nil
	}
	return signer, err
}

func (p policy) check(payload, signature []byte, when time.Time) (string, error) {
	switch {
	case len(signature) == 0:
		return "", fail(ReasonSignatureMissing, "the newest commit is not signed and signatures are required; sign it (git commit -S) and push")
	case bytes.HasPrefix(signature, []byte("-----BEGIN SSH SIGNATURE-----")):
		return p.checkSSH(payload, signature, when)
	case bytes.HasPrefix(signature, []byte("-----BEGIN PGP ")):
		return p.checkGPG(payload, signature)
	default:
		return "", fail(ReasonSignatureInvalid, "the commit's signature is of an unsupported kind; use gpg or ssh")
	}
}

func (p policy) checkGPG(payload, signature []byte) (string, error) {
	signer, err := openpgp.CheckArmoredDetachedSignature(p.gpg, bytes.NewReader(payload), bytes.NewReader(signature), &packet.Config{})
	if err != nil {
		return "", fail(ReasonSignatureInvalid, "no key of the gpg keyring verifies the commit: %w", err)
	}
	name := ""
	if id := signer.PrimaryIdentity(); id != nil {
		name = id.Name
	}
	return printable(fmt.Sprintf("gpg %s %X", name, signer.PrimaryKey.Fingerprint)), nil
}

// checkSSH follows what git does with gpg.format=ssh: namespace git, the commit's own time for a key's validity.
func (p policy) checkSSH(payload, signature []byte, when time.Time) (string, error) {
	sig, err := sshsig.Unarmor(signature)
	if err != nil {
		return "", fail(ReasonSignatureInvalid, "the commit's ssh signature is malformed: %w", err)
	}
	// PROTOCOL.sshsig allows RSA with SHA-2 only.
	if sig.Signature.Format == ssh.KeyAlgoRSA {
		return "", fail(ReasonSignatureInvalid, "the commit's ssh signature uses SHA-1")
	}
	key := ssh.FingerprintSHA256(sig.PublicKey)
	cause := errors.New("the key is not in the allowed signers file")
	for _, s := range p.ssh {
		if !bytes.Equal(s.key.Marshal(), sig.PublicKey.Marshal()) {
			continue
		}
		if cause = s.usable("git", when); cause != nil {
			continue
		}
		if cause = sshsig.Verify(bytes.NewReader(payload), sig, s.key, sig.HashAlgorithm, "git"); cause == nil {
			return printable("ssh " + s.principals + " " + key), nil
		}
	}
	return "", fail(ReasonSignatureInvalid, "no allowed signer verifies the commit, signed by key %s: %w", key, cause)
}

// splitSignature separates a commit's signature from the bytes that were signed: all others, exactly as they are. Made
// from the raw object because a decoder would drop headers it doesn't know.
func splitSignature(commit []byte) (payload, signature []byte, err error) {
	head, body, _ := strings.Cut(string(commit), "\n\n")
	var kept, sig strings.Builder
	var found int
	var in string // the signature header that continuation lines belong to
	for line := range strings.SplitSeq(head, "\n") {
		key, value, _ := strings.Cut(line, " ")
		switch {
		case key == "" && in != "":
			key = in
		case key == "gpgsig" || key == "gpgsig-sha256":
			in = key
			if key == "gpgsig" {
				found++
			}
		default:
			in = ""
			kept.WriteString(line + "\n")
			continue
		}
		if key == "gpgsig" {
			sig.WriteString(value + "\n")
		}
	}
	if found > 1 {
		return nil, nil, fail(ReasonSignatureInvalid, "the commit has %d signatures", found)
	}
	return []byte(kept.String() + "\n" + body), []byte(sig.String()), nil
}
