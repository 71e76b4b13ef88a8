package enroll

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/wire/pki"
)

const (
	// maxCertificates is how many certificates of an operator are accepted, the newest.
	maxCertificates = 10
	maxEmail        = 254
)

// Grant is new access of an operator.
type Grant struct {
	Name string
	// Email is for commits; empty keeps what an operator has.
	Email string
	// Role is viewer, operator or admin; empty keeps what an operator has.
	Role store.Role
	// Expires ends all access; zero: never.
	Expires time.Time
	// CSR is a PKCS #10 request in DER; empty: a token is made, and ends the one before.
	CSR []byte
	// By is who grants it.
	By string
}

// Granted is what the operator needs.
type Granted struct {
	// Token is nil when a certificate was asked for.
	Token *pki.OperatorToken
	// Issued is nil when a token was made.
	Issued *pki.Issued
	// Authority are the fleet's authorities in DER.
	Authority []byte
}

// Grant makes an operator, or gives one new access and another role. Errors wrap ErrRequest
// or those of the store. The first admin is made with it too, on the controller's machine.
func (s *Service) Grant(ctx context.Context, g Grant) (*Granted, error) {
	if err := g.check(); err != nil {
		return nil, fmt.Errorf("make operator %.80q: %w: %w", g.Name, ErrRequest, err)
	}
	authority := s.cfg.Authority()
	granted := &Granted{Authority: authority.BundleDER()}
	if len(g.CSR) == 0 {
		token := pki.NewOperatorToken()
		granted.Token = &token
	} else {
		issued, err := authority.IssueOperator(g.Name, g.CSR)
		if err != nil {
			return nil, fmt.Errorf("make operator %s: %w: %w", g.Name, ErrRequest, err)
		}
		granted.Issued = issued
	}
	if err := s.keep(ctx, g, granted); err != nil {
		return nil, fmt.Errorf("make operator %s: %w", g.Name, err)
	}
	// The role may be less than before, and an earlier token ended.
	s.cfg.Recheck(ctx)
	return granted, nil
}

func (g Grant) check() error {
	if err := pki.CheckName(pki.Operator, g.Name); err != nil {
		return err
	}
	switch g.Role {
	case "", store.RoleViewer, store.RoleOperator, store.RoleAdmin:
	default:
		return fmt.Errorf("role %.40q: write viewer, operator or admin", string(g.Role))
	}
	if g.Email != "" {
		parsed, err := mail.ParseAddress(g.Email)
		if err != nil || parsed.Address != g.Email || len(g.Email) > maxEmail {
			return fmt.Errorf("address %.80q: write it as user@host", g.Email)
		}
	}
	if !g.Expires.IsZero() && !g.Expires.After(time.Now()) {
		return fmt.Errorf("it would have ended at %s already", g.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// keep writes the record. A name that somebody else makes at the same time is updated.
func (s *Service) keep(ctx context.Context, g Grant, granted *Granted) error {
	if g.Role != "" && g.Role != store.RoleAdmin {
		if err := s.notLastAdmin(ctx, g.Name); err != nil {
			return err
		}
	}
	update := func(o *store.Operator) error { return g.apply(o, granted) }
	_, err := s.cfg.Store.Operators().Update(ctx, g.Name, update)
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if g.Role == "" {
		return fmt.Errorf("%w: a new operator needs a role: viewer, operator or admin", ErrRequest)
	}
	fresh := store.Operator{Name: g.Name, CreatedAt: time.Now().UTC(), CreatedBy: g.By}
	if err := update(&fresh); err != nil {
		return err
	}
	return s.cfg.Store.Operators().Create(ctx, fresh)
}

func (g Grant) apply(o *store.Operator, granted *Granted) error {
	if g.Email != "" {
		o.Email = g.Email
	}
	if g.Role != "" {
		o.Role = g.Role
	}
	o.ExpiresAt = g.Expires
	if granted.Token != nil {
		o.TokenHash = granted.Token.Hash()
		return nil
	}
	o.CertSerials = append(slices.Clone(o.CertSerials), granted.Issued.Serial)
	o.CertSerials = o.CertSerials[max(0, len(o.CertSerials)-maxCertificates):]
	return nil
}

// Remove ends an operator's access at once. Errors wrap ErrRequest or those of the store.
func (s *Service) Remove(ctx context.Context, name string) error {
	if err := s.notLastAdmin(ctx, name); err != nil {
		return fmt.Errorf("remove operator %.80q: %w", name, err)
	}
	if err := s.cfg.Store.Operators().Delete(ctx, name); err != nil {
		return fmt.Errorf("remove operator %.80q: %w", name, err)
	}
	s.cfg.Recheck(ctx)
	return nil
}

// notLastAdmin keeps somebody who can make operators. Two calls at the same time may get
// past it; the way out is the same as at the beginning: the controller's own machine.
func (s *Service) notLastAdmin(ctx context.Context, name string) error {
	all, err := s.cfg.Store.Operators().List(ctx)
	if err != nil {
		return err
	}
	isAdmin, others := false, false
	for _, o := range all {
		admin := o.Role == store.RoleAdmin && (o.ExpiresAt.IsZero() || o.ExpiresAt.After(time.Now()))
		isAdmin = isAdmin || (admin && o.Name == name)
		others = others || (admin && o.Name != name)
	}
	if isAdmin && !others {
		return fmt.Errorf("%w: %s is the only admin; make another one first", ErrRequest, name)
	}
	return nil
}
