package enroll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/controller/access"
	"ktrdr.io/fleet/pkg/controller/store"
)

// Directory is access.Directory and access.Trail on the store. Each question is one read of
// the quorum, so that what one controller revokes no other one accepts.
type Directory struct {
	store *store.Store
	log   *slog.Logger
}

// NewDirectory makes a directory.
func NewDirectory(s *store.Store, log *slog.Logger) *Directory { return &Directory{store: s, log: log} }

// Node accepts the node's newest certificate, and the one before as long as the newest was
// not used: seeing it here is its first use.
func (d *Directory) Node(ctx context.Context, name, serial string) error {
	node, err := d.store.Nodes().Get(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return access.ErrDenied
	case err != nil:
		return fmt.Errorf("look up node %s: %w", name, err)
	case serial == "":
		return access.ErrDenied
	case serial == node.CertSerial:
		if node.PrevSerial != "" {
			d.settle(ctx, name, serial)
		}
		return nil
	case serial == node.PrevSerial:
		return nil
	}
	return access.ErrDenied
}

// settle ends the certificate before. If that does not work now, the next call does it.
func (d *Directory) settle(ctx context.Context, name, serial string) {
	_, err := d.store.Nodes().Update(ctx, name, func(n *store.Node) error {
		if n.CertSerial == serial {
			n.PrevSerial = ""
		}
		return nil
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		d.log.WarnContext(ctx, "the certificate before stays valid for now", slog.String("node", name), slog.Any("err", err))
	}
}

// Controller accepts those that are registered: the certificate of one that is gone is of no use.
func (d *Directory) Controller(ctx context.Context, id string) error {
	_, err := d.store.Controllers().Get(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return access.ErrDenied
	case err != nil:
		return fmt.Errorf("look up controller %s: %w", id, err)
	}
	return nil
}

// Operator accepts the certificates that the operator was given.
func (d *Directory) Operator(ctx context.Context, name, serial string) (access.Person, error) {
	found, err := d.store.Operators().Get(ctx, name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return access.Person{}, access.ErrDenied
	case err != nil:
		return access.Person{}, fmt.Errorf("look up operator %s: %w", name, err)
	case serial == "" || !slices.Contains(found.CertSerials, serial):
		return access.Person{}, access.ErrDenied
	}
	d.seen(ctx, found, serial)
	return person(found), nil
}

// seenEvery is how exactly it is known when an operator called last: a write of the store for
// each call would be too much.
const (
	seenEvery = time.Hour
	// seenTimeout bounds the write: the call waits for it.
	seenTimeout = 2 * time.Second
)

// seen notes that an operator calls, and the first use of a certificate. If that does not work
// now, the next call does it.
func (d *Directory) seen(ctx context.Context, o store.Operator, serial string) {
	now := time.Now().UTC()
	if ended := !o.ExpiresAt.IsZero() && !now.Before(o.ExpiresAt); ended {
		return
	}
	if _, first := o.Replaces[serial]; !first && now.Sub(o.SeenAt) < seenEvery {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, seenTimeout)
	defer cancel()
	_, err := d.store.Operators().Update(ctx, o.Name, func(o *store.Operator) error {
		o.SeenAt = now
		settled(o, serial)
		return nil
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		d.log.WarnContext(ctx, "it is not noted that an operator called", slog.String("operator", o.Name), slog.Any("err", err))
	}
}

// OperatorByToken finds an operator.
func (d *Directory) OperatorByToken(ctx context.Context, hash string) (access.Person, error) {
	found, err := d.store.OperatorByToken(ctx, hash, time.Now())
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrTokenExpired):
		return access.Person{}, access.ErrDenied
	case err != nil:
		return access.Person{}, fmt.Errorf("look up an operator by token: %w", err)
	}
	d.seen(ctx, found, "")
	return person(found), nil
}

func person(o store.Operator) access.Person {
	return access.Person{Name: o.Name, Email: o.Email, Role: access.Role(o.Role), Expires: o.ExpiresAt}
}

// Record keeps an entry.
func (d *Directory) Record(ctx context.Context, e access.Entry) error {
	return d.store.Record(ctx, store.Audit{
		At: e.At, Who: e.Who, Role: store.Role(e.Role), What: e.What, Target: e.Target,
		From: e.From, Result: e.Result, Detail: e.Detail,
	})
}
