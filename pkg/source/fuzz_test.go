package source_test

import (
	"bytes"
	"testing"

	"ktrdr.io/fleet/pkg/source"
)

// FuzzSplitSignature: what is signed plus the signature is the whole commit; nothing can hide between them.
func FuzzSplitSignature(f *testing.F) {
	head := "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n"
	f.Add([]byte(head + "\nmessage\n"))
	f.Add([]byte(head + "gpgsig -----BEGIN SSH SIGNATURE-----\n AAAA\n \n -----END SSH SIGNATURE-----\n\nmessage\n\ngpgsig x\n"))
	f.Add([]byte(head + "gpgsig-sha256 a\n b\ngpgsig c\nencoding x\n\n"))
	f.Add([]byte(head + "mergetag object\n gpgsig x\n\nm"))
	f.Fuzz(func(t *testing.T, commit []byte) {
		payload, signature, err := source.SplitSignature(commit)
		if err != nil || !bytes.HasPrefix(commit, []byte("tree ")) {
			return // no commit; refused before
		}
		if !bytes.Contains(commit, []byte("gpgsig")) {
			if len(signature) > 0 {
				t.Fatalf("signature %q in a commit without one", signature)
			}
			if bytes.Contains(commit, []byte("\n\n")) && !bytes.Equal(payload, commit) {
				t.Fatalf("payload %q differs from the unsigned commit %q", payload, commit)
			}
		}
		again, rest, err := source.SplitSignature(payload)
		if err != nil || len(rest) > 0 || bytes.Contains(commit, []byte("\n\n")) && !bytes.Equal(again, payload) {
			t.Fatalf("the payload %q still has a signature %q (%v)", payload, rest, err)
		}
		if body := bytes.Index(commit, []byte("\n\n")); body >= 0 && !bytes.HasSuffix(payload, commit[body+1:]) {
			t.Fatalf("payload %q lost the message of %q", payload, commit)
		}
	})
}

// FuzzAllowedSigners: no input panics, and none is read as "nobody" without an error.
func FuzzAllowedSigners(f *testing.F) {
	f.Add([]byte("a@b ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8fYm9Xh8p5p3mYvFZ3Yl1dqU1j3m1oZ1n1r1w1q1m1 x\n"))
	f.Add([]byte("\"a b\" namespaces=\"git\",valid-after=\"20200101Z\" ssh-ed25519 AAAA\n# x\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, err := source.ParseAllowedSigners(data); n == 0 && err == nil {
			t.Fatalf("%q names nobody and is no error", data)
		}
	})
}
