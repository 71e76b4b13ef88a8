package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// origin is where a git source gets commits from: a server, or a repository on this machine.
type origin interface {
	// tip asks for the commit that the branch points at now. The returned offer stays usable until it is closed.
	tip(ctx context.Context, branch string) (offer, error)
	// explain gives an error of tip or objects its Reason, and removes what must not be shown.
	explain(err error) error
	close()
}

// offer is a commit and the way to its objects.
type offer interface {
	commit() plumbing.Hash
	// objects returns a store that holds the commit and all that it refers to.
	objects(ctx context.Context) (storer.EncodedObjectStorer, error)
	close()
}

// Git is a git repository as a source.
type Git struct {
	cfg    GitConfig
	op     string
	origin origin
	trees  *trees
	busy   chan struct{}

	// verified is the commit that this process verified under the signature policy policy.
	verified plumbing.Hash
	policy   [sha256.Size]byte
}

// NewGit makes a source. It doesn't ask the server for anything: a source can be made while the server is down.
func NewGit(cfg GitConfig) (*Git, error) {
	if err := cfg.Validate(); err != nil {
		return nil, &Error{Reason: ReasonInvalid, Op: "configure git source", Err: err}
	}
	cfg = cfg.withDefaults()
	ep, err := cfg.endpoint()
	if err != nil {
		return nil, &Error{Reason: ReasonInvalid, Op: "configure git source", Err: err}
	}
	op := "open git source " + cfg.URL
	if cfg.CacheDir, err = filepath.Abs(cfg.CacheDir); err != nil {
		return nil, during(op, err)
	}
	store, err := openTrees(cfg.CacheDir, cfg.Limits)
	if err != nil {
		return nil, during(op, err)
	}
	g := &Git{cfg: cfg, op: "fetch branch " + cfg.Branch + " of " + cfg.URL, trees: store, busy: make(chan struct{}, 1)}
	if ep.Protocol == "file" {
		g.origin = localOrigin{path: ep.Path}
	} else {
		g.origin = newServer(cfg, ep)
	}
	return g, nil
}

// Fetch asks the server for the branch's commit and, when it is a new one, for the objects that are missing here. A
// cache that can't be read is cloned again in the same call.
func (g *Git) Fetch(ctx context.Context, have string) (Tree, error) {
	limited, cancel := context.WithTimeout(ctx, g.cfg.Timeout)
	defer cancel()
	select {
	case g.busy <- struct{}{}:
		defer func() { <-g.busy }()
	case <-limited.Done():
	}
	if err := limited.Err(); err != nil {
		return Tree{}, &Error{Reason: ReasonCanceled, Op: g.op, Err: err}
	}
	tree, err := g.fetch(limited, have)
	if errors.Is(err, errCorrupt) && limited.Err() == nil {
		g.cfg.Logger.Warn("git cache is corrupt, cloning again", "url", g.cfg.URL, "err", err)
		if err = os.RemoveAll(g.trees.path("git")); err == nil {
			tree, err = g.fetch(limited, have)
		}
	}
	if err != nil {
		return Tree{}, during(g.op, g.classify(ctx, limited, err))
	}
	return tree, nil
}

// classify says what an error means. When time is up, that explains all others.
func (g *Git) classify(ctx, limited context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &Error{Reason: ReasonCanceled, Err: ctx.Err()}
	case limited.Err() != nil:
		return fail(ReasonUnreachable, "no complete answer in time; check that the server is up and reachable: %w", limited.Err())
	default:
		return g.origin.explain(err)
	}
}

func (g *Git) fetch(ctx context.Context, have string) (Tree, error) {
	policy, err := readPolicy(g.cfg.Signatures)
	if err != nil {
		return Tree{}, err
	}
	found, err := g.origin.tip(ctx, g.cfg.Branch)
	if err != nil {
		return Tree{}, err
	}
	defer found.close()
	tip := found.commit()
	// A commit that this process has not verified under today's keys is not taken from the cache.
	if known := tip == g.verified && policy.digest == g.policy; known || have == tip.String() && !policy.required {
		if tree, ok := g.trees.get(g.name(tip.String())); ok && tree.Revision.Branch == g.cfg.Branch {
			return tree, nil
		}
	}
	store, err := found.objects(ctx)
	if err != nil {
		return Tree{}, err
	}
	return g.checkout(ctx, store, tip, policy)
}

// checkout verifies the commit and writes its tree, unless it is on disk.
func (g *Git) checkout(ctx context.Context, store storer.EncodedObjectStorer, tip plumbing.Hash, policy policy) (tree Tree, err error) {
	defer corruptOnPanic(&err)
	r := reader{ctx: ctx, store: store, max: g.cfg.Limits.MaxTransferBytes}
	rev, raw, err := r.commit(tip)
	if err != nil {
		return Tree{}, err
	}
	rev.Branch = g.cfg.Branch
	if rev.Signer, err = policy.verify(raw, rev.Time); err != nil {
		return Tree{}, err
	}
	name := g.name(rev.ID)
	tree, ok := g.trees.get(name)
	if !ok || tree.Revision != rev {
		tree, err = g.trees.build(name, func(m *manifest) (Revision, error) { return rev, r.folder(raw, g.cfg.Path, m) })
	}
	if err == nil {
		g.verified, g.policy = tip, policy.digest
	}
	return tree, err
}

// name is what a commit's tree is called on disk: two sub-folders of one commit are two trees.
func (g *Git) name(id string) string {
	if g.cfg.Path == "" {
		return id
	}
	sum := sha256.Sum256([]byte(filepath.ToSlash(filepath.Clean(g.cfg.Path))))
	return id + "-" + hex.EncodeToString(sum[:8])
}

// Cached implements Source. When signatures are required, a tree that was stored without one is not returned.
func (g *Git) Cached(id string) (Tree, bool) {
	tree, ok := g.trees.peek(g.name(id))
	if !ok || tree.Revision.ID != id || g.cfg.Signatures.Required && tree.Revision.Signer == "" {
		return Tree{}, false
	}
	return tree, true
}

// Prune implements Source.
func (g *Git) Prune(keep ...string) error {
	names := make([]string, 0, len(keep))
	for _, id := range keep {
		names = append(names, g.name(id))
	}
	return during("remove old trees of "+g.cfg.URL, g.trees.prune(names))
}

// Changes implements Source: a git repository has to be polled.
func (g *Git) Changes() <-chan struct{} { return nil }

// Close implements Source. It waits for a Fetch that is under way.
func (g *Git) Close() error {
	g.busy <- struct{}{}
	defer func() { <-g.busy }()
	g.origin.close()
	return nil
}
