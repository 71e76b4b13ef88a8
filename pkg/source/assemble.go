package source

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
)

// assembly makes a tree of an offer.
type assembly struct {
	offer *Offer
	from  Bringer
	// write calls fill with a manifest that writes to disk.
	write func(fill func(*manifest) (Revision, error)) (Tree, error)
}

// assemble brings what is missing and writes the tree. A content that turns out to be damaged is asked for again.
func (s *Stream) assemble(ctx context.Context, a assembly) (Tree, error) {
	for brought := 0; ; {
		missing, err := s.contents.expect(a.offer.Files)
		if err != nil {
			return Tree{}, err
		}
		if len(missing) == 0 {
			tree, err := a.write(func(m *manifest) (Revision, error) { return a.offer.Revision, s.fill(ctx, a.offer, m) })
			if !errors.Is(err, errLost) {
				return tree, err
			}
			s.cfg.Logger.Warn("stored contents are damaged and asked for again", "revision", a.offer.Revision.ID)
			if err := s.contents.check(a.offer.Files); err != nil {
				return Tree{}, err
			}
			continue
		}
		if brought++; brought > bringAttempts {
			return Tree{}, fail(ReasonUnreachable, "the controller did not bring %d contents of revision %s", len(missing), a.offer.Revision.ID)
		}
		if err := a.from.Bring(ctx, a.offer.Revision.ID, missing); err != nil {
			return Tree{}, err
		}
	}
}

// fill writes the files of an offer and the folders that they are in.
func (s *Stream) fill(ctx context.Context, o *Offer, m *manifest) error {
	made := map[string]bool{".": true}
	for i := range o.Files {
		f := &o.Files[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := folders(path.Dir(f.Path), made, m); err != nil {
			return err
		}
		if err := s.contents.read(f, func(in io.Reader) error { return m.file(f.Path, f.Mode, in) }); err != nil {
			return err
		}
	}
	return nil
}

func folders(dir string, made map[string]bool, m *manifest) error {
	if made[dir] {
		return nil
	}
	if err := folders(path.Dir(dir), made, m); err != nil {
		return err
	}
	made[dir] = true
	return m.dir(dir, fs.ModeDir|0o755)
}

// Assemble writes the tree of an offer into the empty folder dir. The offer does not become the newest revision. from
// brings what is missing here. Errors are *Error.
func (s *Stream) Assemble(ctx context.Context, o Offer, dir string, from Bringer) error {
	op := "assemble revision " + o.Revision.ID
	if err := o.check(s.cfg.Limits); err != nil {
		return during(op, err)
	}
	s.mu.Lock()
	s.plans[&o] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.plans, &o)
		s.mu.Unlock()
		if err := s.tidy(); err != nil {
			s.cfg.Logger.Warn("old contents stay on disk", "err", err)
		}
	}()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return during(op, err)
	}
	defer func() { _ = root.Close() }()
	_, err = s.assemble(ctx, assembly{offer: &o, from: from, write: func(fill func(*manifest) (Revision, error)) (Tree, error) {
		if err := empty(root); err != nil {
			return Tree{}, err
		}
		_, err := fill(&manifest{root: root, limits: s.cfg.Limits})
		return Tree{}, err
	}})
	if ctx.Err() != nil {
		return &Error{Reason: ReasonCanceled, Op: op, Err: ctx.Err()}
	}
	return during(op, err)
}

// empty removes what an attempt that found a damaged content left.
func empty(root *os.Root) error {
	list, err := fs.ReadDir(root.FS(), ".")
	errs := []error{err}
	for _, d := range list {
		errs = append(errs, root.RemoveAll(d.Name()))
	}
	return errors.Join(errs...)
}

// tidy drops contents that no offer needs.
func (s *Stream) tidy() error {
	s.mu.Lock()
	var keep []*Offer
	for _, o := range []*Offer{s.offer, s.accepted} {
		if o != nil {
			keep = append(keep, o)
		}
	}
	for o := range s.plans {
		keep = append(keep, o)
	}
	s.mu.Unlock()
	return s.contents.prune(keep...)
}

// maxRemembered bounds the file that the accepted offer is read from, in bytes.
const maxRemembered = 32 << 20

// remember writes the accepted offer to disk.
func (s *Stream) remember(o *Offer) error {
	data, err := json.Marshal(o)
	if err != nil {
		return err
	}
	tmp := s.trees.path("tmp", "accepted.json")
	if err := os.WriteFile(tmp, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, s.trees.path("accepted.json"))
}

// remembered reads it; nil when there is none that can be used.
func (s *Stream) remembered() *Offer {
	f, err := os.Open(s.trees.path("accepted.json"))
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	var o Offer
	if err := json.NewDecoder(io.LimitReader(f, maxRemembered)).Decode(&o); err != nil {
		return nil
	}
	if o.check(s.cfg.Limits) != nil {
		return nil
	}
	return &o
}
