package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

var commitID = regexp.MustCompile(`^[0-9a-f]{40}$`)

// Commits turns any commits of git repositories on this machine into trees. It is for who
// hosts a repository; Git follows a branch. Safe for concurrent use.
type Commits struct {
	trees  *trees
	limits Limits
}

// OpenCommits keeps trees in the folder cache, which no other source uses. Zero limits mean
// the defaults.
func OpenCommits(cache string, limits Limits) (*Commits, error) {
	op := "open cache of trees " + cache
	if err := limits.Validate(); err != nil {
		return nil, &Error{Reason: ReasonInvalid, Op: op, Err: err}
	}
	cache, err := filepath.Abs(cache)
	if err != nil {
		return nil, during(op, err)
	}
	limits = limits.withDefaults()
	kept, err := openTrees(cache, limits)
	if err != nil {
		return nil, during(op, err)
	}
	return &Commits{trees: kept, limits: limits}, nil
}

// Tree returns the tree of a commit: from the cache when it is there and as it was written,
// else out of the bare repositories gitDirs, which are looked through in order for each
// object. Every object is hashed again. Signatures are not looked at. Errors are *Error.
func (c *Commits) Tree(ctx context.Context, id string, gitDirs ...string) (tree Tree, err error) {
	op := "read commit " + printable(id)
	if !commitID.MatchString(id) {
		return Tree{}, &Error{Reason: ReasonInvalid, Op: op, Err: errors.New("is not a full commit hash")}
	}
	if tree, ok := c.trees.peek(id); ok {
		return tree, nil
	}
	for _, dir := range gitDirs {
		if _, err := os.Stat(filepath.Join(dir, "objects")); err != nil {
			return Tree{}, &Error{Reason: ReasonRepositoryNotFound, Op: op, Err: fmt.Errorf("there is no git repository at %s", dir)}
		}
	}
	tree, err = c.build(ctx, id, gitDirs)
	if errors.Is(err, errCorrupt) {
		// Packs may have been replaced by others while they were read.
		tree, err = c.build(ctx, id, gitDirs)
	}
	if errors.Is(err, errCorrupt) {
		err = fail(ReasonInvalid, "the commit is not in the repository, or the repository can't be read; check it with git fsck: %w", err)
	}
	if err != nil && ctx.Err() != nil {
		err = &Error{Reason: ReasonCanceled, Err: ctx.Err()}
	}
	return tree, during(op, err)
}

func (c *Commits) build(ctx context.Context, id string, gitDirs []string) (tree Tree, err error) {
	defer corruptOnPanic(&err)
	store := objectChain{}
	for _, dir := range gitDirs {
		store.all = append(store.all, filesystem.NewStorage(osfs.New(dir, osfs.WithBoundOS()), cache.NewObjectLRU(cache.MiByte)))
	}
	r := reader{ctx: ctx, store: store, max: c.limits.MaxTransferBytes}
	rev, raw, err := r.commit(plumbing.NewHash(id))
	if err != nil {
		return Tree{}, err
	}
	return c.trees.build(id, func(m *manifest) (Revision, error) { return rev, r.folder(raw, "", m) })
}

// Remove forgets the tree of a commit. It is not an error when there is none.
func (c *Commits) Remove(id string) error {
	op := "remove tree of commit " + printable(id)
	if !commitID.MatchString(id) {
		return &Error{Reason: ReasonInvalid, Op: op, Err: errors.New("is not a full commit hash")}
	}
	return during(op, c.trees.remove(id))
}

// Prune removes all trees but those of the commits in keep.
func (c *Commits) Prune(keep ...string) error {
	c.trees.mu.Lock()
	c.trees.current = ""
	c.trees.mu.Unlock()
	return during("remove old trees", c.trees.prune(keep))
}

// objectChain looks for an object in several stores. Only EncodedObject is of use.
type objectChain struct {
	storer.EncodedObjectStorer

	all []storer.EncodedObjectStorer
}

// EncodedObject implements storer.EncodedObjectStorer.
func (c objectChain) EncodedObject(kind plumbing.ObjectType, h plumbing.Hash) (plumbing.EncodedObject, error) {
	for _, store := range c.all {
		obj, err := store.EncodedObject(kind, h)
		if !errors.Is(err, plumbing.ErrObjectNotFound) {
			return obj, err
		}
	}
	return nil, plumbing.ErrObjectNotFound
}
