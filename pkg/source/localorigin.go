package source

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// localOrigin is a repository on this machine. Its objects are read in place: there is nothing to transfer, and no git
// program is needed or run.
type localOrigin struct{ path string }

type localOffer struct {
	repo *git.Repository
	hash plumbing.Hash
}

func (o localOrigin) tip(_ context.Context, branch string) (found offer, err error) {
	defer corruptOnPanic(&err)
	repo, err := git.PlainOpenWithOptions(o.path, &git.PlainOpenOptions{EnableDotGitCommonDir: true})
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	ref, err := repo.Reference(plumbing.NewBranchReferenceName(branch), true)
	if err != nil {
		return nil, err
	}
	return localOffer{repo: repo, hash: ref.Hash()}, nil
}

func (o localOrigin) explain(err error) error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return err
	case errors.Is(err, errCorrupt):
		return fail(ReasonInvalid, "the repository can't be read; check it with git fsck: %w", err)
	case errors.Is(err, git.ErrRepositoryNotExists):
		return fail(ReasonRepositoryNotFound, "there is no git repository at %s", o.path)
	case errors.Is(err, plumbing.ErrReferenceNotFound):
		return fail(ReasonBranchNotFound, "the repository has no such branch; push it or correct the configured branch")
	default:
		return err
	}
}

func (localOrigin) close() {}

func (o localOffer) commit() plumbing.Hash { return o.hash }

func (o localOffer) objects(context.Context) (storer.EncodedObjectStorer, error) {
	return o.repo.Storer, nil
}

func (localOffer) close() {}
