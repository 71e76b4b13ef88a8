package source

import (
	"context"
	"time"
)

// Revision names one state of the repository.
type Revision struct {
	// ID is the full commit hash for git and "dir-<sha256 hex>", a digest of the content, for a folder.
	ID string `json:"id"`
	// Branch is the short branch name; empty for a folder.
	Branch string `json:"branch,omitempty"`
	// Author is "Name <address>" as the commit has it; empty for a folder.
	Author string `json:"author,omitempty"`
	// Subject is the first line of the commit message; empty for a folder.
	Subject string `json:"subject,omitempty"`
	// Time is the committer's time, or for a folder the newest modification time in it.
	Time time.Time `json:"time"`
	// Signer says whose key signed the commit ("ssh <principal> SHA256:…" or "gpg <identity> <fingerprint>").
	// Empty when no configured key verified it.
	Signer string `json:"signer,omitempty"`
	// Digest is "sha256:<hex>" over the files as the controller told them; empty for a folder and a repository. A
	// commit whose files for this node are others than before (they were put together by another rule) has another one.
	Digest string `json:"digest,omitempty"`
}

// Tree is an immutable copy of one revision on disk.
type Tree struct {
	Revision Revision
	// Dir is absolute. Its content never changes, and it stays until a later Prune no longer keeps its revision.
	Dir string
}

// Source brings desired state. One caller at a time may be in Fetch; all other methods may run concurrently with it.
type Source interface {
	// Fetch looks for the newest revision and returns its tree. When have is the newest revision's ID, the tree
	// that is on disk is returned after a cheap look at the origin. ctx bounds it, hung servers included.
	// After an error the trees of earlier calls are still there. Errors are *Error.
	Fetch(ctx context.Context, have string) (Tree, error)
	// Cached returns the tree of a revision that an earlier Fetch, of this process or one before, left on disk.
	// It uses no network and verifies the tree against its record. False means that Fetch has to bring it.
	Cached(id string) (Tree, bool)
	// Prune removes all trees except those of the revisions in keep and the one that Fetch returned last.
	Prune(keep ...string) error
	// Changes rings (one slot, no content) when the source itself noticed a change. It is nil for a source that
	// has to be polled. A ring may be spurious; a folder on a network share may change without one.
	Changes() <-chan struct{}
	// Close ends what the source started and waits for it. The trees stay on disk.
	Close() error
}
