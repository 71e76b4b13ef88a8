package source

import (
	"context"
	"os"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// Parsers of what strangers write, for fuzzing.

// SplitSignature is splitSignature.
func SplitSignature(commit []byte) (payload, signature []byte, err error) {
	return splitSignature(commit)
}

// ParseAllowedSigners is parseAllowedSigners; it returns how many lines name a signer.
func ParseAllowedSigners(data []byte) (int, error) {
	list, err := parseAllowedSigners(data)
	return len(list), err
}

// CheckOut writes the tree of a commit of the objects in store below dir, as of somebody else's repository.
func CheckOut(ctx context.Context, store storer.EncodedObjectStorer, commit plumbing.Hash, dir string) (err error) {
	defer corruptOnPanic(&err)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	r := reader{ctx: ctx, store: store, max: 1 << 20}
	_, raw, err := r.commit(commit)
	if err != nil {
		return err
	}
	return r.folder(raw, "", &manifest{root: root, limits: Limits{MaxFiles: 100, MaxBytes: 1 << 20}})
}
