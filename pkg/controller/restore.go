package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/controller/repo"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/wire/pki"
)

// From is a backup to restore from.
type From struct {
	Content io.Reader
	// Prefix is where the store's keys are in it; "" = those of the only fleet in it.
	Prefix string
}

// Restored says what a restore brought back, and what the controller needs beside it.
type Restored struct {
	Into                      string
	Records, Nodes, Operators int
	// Head is the accepted revision, "" for none; AcceptedAt and AcceptedBy are its.
	Head, AcceptedBy string
	AcceptedAt       time.Time
	// Newest is the time of the newest entry of the audit trail; zero: there is none.
	Newest time.Time
	// Missing is what has to be done before the controller can start, as sentences.
	Missing []string
	// Remote is the repository that has to have the head; "" where it is hosted.
	Remote string
}

// Restore fills the store that the configuration names, which must be empty. With an embedded
// store the controller must not run.
func Restore(ctx context.Context, cfg Config, from From) (Restored, error) {
	out := Restored{Into: cfg.storeName()}
	if err := cfg.ownState(); err != nil {
		return out, err
	}
	var err error
	out.Records, err = store.Restore(ctx, cfg.store(), store.Backup{Content: from.Content, Prefix: from.Prefix})
	if errors.Is(err, store.ErrExists) {
		return out, fmt.Errorf("%w\n%s", err, cfg.makeRoom())
	}
	if err != nil {
		return out, err
	}
	if err := cfg.lookAt(ctx, &out); err != nil {
		return out, fmt.Errorf("%d records are restored, but look at them: %w", out.Records, err)
	}
	return out, nil
}

// makeRoom says how a restore goes on where a store is not empty.
func (c *Config) makeRoom() string {
	s := c.store()
	if s.External != nil {
		return "A restore adds nothing to a store that is in use. Name another etcd.external.prefix, or, when nobody needs what is there, stop all controllers on it and: etcdctl del --prefix " + prefixOf(s.External)
	}
	return fmt.Sprintf("A restore adds nothing to a store that is in use. To put the backup in its place: mv %s %s.old, and restore again", s.Embedded.Dir, s.Embedded.Dir)
}

// lookAt reads what was restored and looks for what belongs to it on this machine.
func (c *Config) lookAt(ctx context.Context, out *Restored) (err error) {
	s, err := store.Open(ctx, c.store())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	nodes, errNodes := s.Nodes().List(ctx)
	operators, errOperators := s.Operators().List(ctx)
	trail, errTrail := s.Audit(ctx, 1, "")
	head, errHead := s.Head(ctx)
	if errors.Is(errHead, store.ErrNotFound) {
		errHead = nil
	}
	if err := errors.Join(errNodes, errOperators, errTrail, errHead); err != nil {
		return err
	}
	out.Nodes, out.Operators = len(nodes), len(operators)
	out.Head, out.AcceptedBy, out.AcceptedAt = head.Revision, head.By, head.AcceptedAt
	if len(trail) > 0 {
		out.Newest = trail[0].At
	}
	if missing := c.missingAuthority(ctx, s); missing != "" {
		out.Missing = append(out.Missing, missing)
	}
	c.lookForHead(ctx, out)
	return nil
}

// missingAuthority says why the controller would not start with the authority on this machine.
func (c *Config) missingAuthority(ctx context.Context, s *store.Store) string {
	known, err := s.Authority(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return ""
	}
	if err != nil {
		return err.Error()
	}
	cert, key := c.authorityFiles()
	own, err := pki.Load(cert, key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("The fleet's authority (%s) is not on this machine: copy its ca.crt and ca.key to %s, owner the controller's user, mode 0600. %s", known.Signing, c.authorityDir(), authorityLost)
	case err != nil:
		return err.Error()
	}
	trusted := slices.ContainsFunc(own.Pins(), func(p pki.Pin) bool { return p.String() == known.Signing })
	if trusted && slices.Contains(known.Trusted, own.Pin().String()) {
		return ""
	}
	return fmt.Sprintf("This machine has another authority (%s) than the fleet (%s, recorded by %s): put the fleet's ca.crt and ca.key into %s in its place. %s", own.Pin(), known.Signing, known.By, c.authorityDir(), authorityLost)
}

const authorityLost = "If they are lost: ktrdr-controller authority replace, and every node joins again"

// lookForHead makes sure that the repository can have the head.
func (c *Config) lookForHead(ctx context.Context, out *Restored) {
	if follow := c.Repository.Follow; follow != nil {
		out.Remote = follow.URL
		return
	}
	if out.Head == "" {
		return
	}
	dir := filepath.Join(c.StateDir, "repository")
	switch held, err := repo.Holds(ctx, dir, out.Head); {
	case err != nil:
		out.Missing = append(out.Missing, fmt.Sprintf("Whether the hosted repository in %s has the accepted revision is not known: %v", dir, err))
	case !held:
		out.Missing = append(out.Missing, fmt.Sprintf("The hosted repository in %s does not have the accepted revision %s: bring it back from a backup that is not older than the store's", dir, out.Head))
	}
}
