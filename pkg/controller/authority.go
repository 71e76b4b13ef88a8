package controller

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/controller/peers"
	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
)

// openIdentity loads the authority and makes the certificates of this start.
func (c *Controller) openIdentity(ctx context.Context) error {
	cert, clients, err := c.issue(ctx)
	if err != nil {
		return err
	}
	c.identity = wire.NewServerIdentity(cert, clients)
	return nil
}

// issue makes certificates with the authority as it is on the disk now.
func (c *Controller) issue(ctx context.Context) (tls.Certificate, *x509.CertPool, error) {
	authority, err := c.loadAuthority(ctx)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	names, ips, err := c.cfg.reachable()
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	peer, err := authority.IssueController(c.id)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	cert, err := authority.IssueServer(names, ips)
	if err == nil {
		config := wire.TrustTLS(authority.Pool())
		config.Certificates = []tls.Certificate{peer}
		c.peer.Store(config)
	}
	return cert, authority.Pool(), err
}

// address is where a running controller is reached.
func (c *Controller) address(ctx context.Context, id string) (string, error) {
	found, err := c.store.Controllers().Get(ctx, id)
	return found.Address, err
}

// neighbours are the other controllers on the same store.
type neighbours struct {
	*peers.Client
	c *Controller
}

// List implements fleet.Others.
func (n neighbours) List(ctx context.Context) ([]string, error) {
	all, err := n.c.store.Controllers().List(ctx)
	var ids []string
	for i := range all {
		if all[i].ID != n.c.id {
			ids = append(ids, all[i].ID)
		}
	}
	return ids, err
}

// loadAuthority reads the authority's files: they may have been replaced. A store that is open
// has to agree.
func (c *Controller) loadAuthority(ctx context.Context) (*pki.Authority, error) {
	cert, key := c.cfg.authorityFiles()
	authority, err := pki.Load(cert, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w\nThere is no authority on this machine yet. If the fleet is new, run once, as the user of the controller: ktrdr-controller init\n"+
			"If it has a controller already: copy its ca.crt and ca.key to %s", err, c.cfg.authorityDir())
	}
	if err != nil {
		return nil, err
	}
	if before := c.authority.Load(); c.store != nil && (before == nil || !slices.Equal(before.Pins(), authority.Pins())) {
		if err := agree(ctx, c.store, authority, c.id); err != nil {
			return nil, err
		}
	}
	c.authority.Store(authority)
	return authority, nil
}

// record is what the store keeps of an authority.
func record(a *pki.Authority, by string) store.Authority {
	out := store.Authority{Signing: a.Pin().String(), By: by, At: time.Now().UTC()}
	for _, pin := range a.Pins() {
		out.Trusted = append(out.Trusted, pin.String())
	}
	return out
}

// agree makes sure that all controllers of a store have the same authority.
func agree(ctx context.Context, s *store.Store, a *pki.Authority, by string) error {
	err := s.AgreeOnAuthority(ctx, record(a, by))
	if errors.Is(err, store.ErrOtherAuthority) {
		return fmt.Errorf("%w\nCertificates of one would be refused by the other. Copy ca.crt and ca.key from a controller of this fleet, or name another etcd.external.prefix for another fleet. "+
			"To replace the fleet's authority, all controllers trust both first; if it is lost or stolen: ktrdr-controller authority replace (docs/operations.md)", err)
	}
	return err
}

// found is the authority that the fleet in the store has, from this machine's disk. A new fleet
// gets one.
func (c *Config) found(ctx context.Context, s *store.Store) (*pki.Authority, error) {
	cert, key := c.authorityFiles()
	authority, err := pki.Load(cert, key)
	if err == nil {
		return authority, agree(ctx, s, authority, "init")
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	known, err := s.Authority(ctx)
	switch {
	case err == nil:
		return nil, fmt.Errorf("the fleet in this store has an authority already, %s, recorded by %s: copy ca.crt and ca.key from a controller of this fleet to %s, mode 0600, and start the controller; "+
			"init is for the first one", known.Signing, known.By, c.authorityDir())
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	if authority, err = pki.Create(c.authorityDir()); err != nil {
		return nil, err
	}
	if err := agree(ctx, s, authority, "init"); err != nil {
		// Somebody was faster: what nobody has got a certificate of is no authority.
		if errors.Is(err, store.ErrOtherAuthority) {
			err = errors.Join(err, os.Remove(cert), os.Remove(key))
		}
		return nil, err
	}
	return authority, nil
}

// ReplaceAuthority makes the authority on this machine's disk the fleet's, although no
// controller trusted it before: nodes have to join again, and operators need new certificates.
// With an embedded store the controller must not run.
func ReplaceAuthority(ctx context.Context, cfg Config) error {
	return cfg.withAuthority(ctx, func(s *store.Store, authority *pki.Authority) error {
		return s.ReplaceAuthority(ctx, record(authority, "authority replace"))
	})
}

// withAuthority opens the store and the authority on this machine's disk for do.
func (c *Config) withAuthority(ctx context.Context, do func(*store.Store, *pki.Authority) error) (err error) {
	if err := c.ownStore(); err != nil {
		return err
	}
	cert, key := c.authorityFiles()
	authority, err := pki.Load(cert, key)
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, c.store())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return do(s, authority)
}
