package fleet

import (
	"context"
	"maps"
	"slices"

	"ktrdr.io/fleet/pkg/controller/access"
	"ktrdr.io/fleet/pkg/controller/repo"
	"ktrdr.io/fleet/pkg/desired/edit"
	"ktrdr.io/fleet/pkg/source"
)

// History reads the repository.
type History interface {
	Head(ctx context.Context) (repo.Commit, error)
	Resolve(ctx context.Context, rev string) (repo.Commit, error)
	Tree(ctx context.Context, rev string) (source.Tree, error)
	History(ctx context.Context, q repo.HistoryQuery) ([]repo.Commit, error)
	Diff(ctx context.Context, a, b string) (repo.Diff, error)
}

// Changes makes commits. All but Commit pass the gate and move the head.
type Changes interface {
	Commit(ctx context.Context, base string, edits []edit.Edit, who repo.Who, message string) (string, error)
	Change(ctx context.Context, c repo.Change) (repo.Commit, error)
	Rollback(ctx context.Context, c repo.Change, rev string) (repo.Commit, error)
}

// Folders compares what is no commit.
type Folders interface {
	DiffFolder(ctx context.Context, base, dir string) (repo.Diff, error)
}

// Repository is what the service needs of pkg/controller/repo.
type Repository interface {
	History
	Changes
	Folders
}

// hold keeps a revision's tree on disk until release is called.
func (s *Service) hold(revision string) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inUse[revision]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.inUse[revision]--; s.inUse[revision] == 0 {
			delete(s.inUse, revision)
		}
	}
}

// InUse are revisions that calls under way look at: their trees have to stay on disk.
func (s *Service) InUse() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.inUse))
}

// who is the author of what a call changes.
func who(ctx context.Context) (repo.Who, string) {
	caller, _ := access.CallerFrom(ctx)
	name := caller.Name
	if name == "" {
		name = caller.String()
	}
	return repo.Who{Name: name, Email: caller.Email}, caller.From
}

// by is who asks, as commands and records have it.
func by(ctx context.Context) string {
	caller, _ := access.CallerFrom(ctx)
	return caller.String()
}
