package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// authorityKey is the only key of its table.
const authorityKey = "fleet"

// Authority says whose certificates this fleet accepts. There is one, so that controllers that
// share a store share an authority as well.
type Authority struct {
	// Signing is the pin of the authority that signs, Trusted are those that are accepted, the
	// signing one among them.
	Signing string   `json:"signing"`
	Trusted []string `json:"trusted"`
	// By is the controller that said so, or who replaced it.
	By string    `json:"by"`
	At time.Time `json:"at"`
}

func checkAuthority(a Authority) error {
	if a.Signing == "" || !slices.Contains(a.Trusted, a.Signing) {
		return errors.New("an authority must trust itself")
	}
	return nil
}

// follows tells whether a controller with this authority and those with the one before accept
// what the other one signs.
func (a Authority) follows(before Authority) bool {
	return slices.Contains(a.Trusted, before.Signing) && slices.Contains(before.Trusted, a.Signing)
}

func (a Authority) same(b Authority) bool {
	return a.Signing == b.Signing && slices.Equal(a.Trusted, b.Trusted)
}

// Authority returns the fleet's; ErrNotFound before the first controller has started.
func (s *Store) Authority(ctx context.Context) (Authority, error) {
	return s.authorities.Get(ctx, authorityKey)
}

// AgreeOnAuthority records the first authority. After that it accepts the one that is recorded,
// and a step of its replacement (both sides accept what the other one signs), which it records;
// any other one is ErrOtherAuthority.
func (s *Store) AgreeOnAuthority(ctx context.Context, own Authority) error {
	err := s.authorities.Create(ctx, own)
	if !errors.Is(err, ErrExists) {
		return err
	}
	_, err = s.authorities.Update(ctx, authorityKey, func(known *Authority) error {
		switch {
		case own.same(*known):
			return nil // By and At stay: they say since when
		case !own.follows(*known):
			return fmt.Errorf("%w: this one is %s, the fleet's is %s, recorded by %s on %s",
				ErrOtherAuthority, own.Signing, known.Signing, known.By, known.At.UTC().Format(time.RFC3339))
		}
		*known = own
		return nil
	})
	return err
}

// ReplaceAuthority records an authority whatever was there: every node and operator has to get
// a new certificate.
func (s *Store) ReplaceAuthority(ctx context.Context, own Authority) error {
	return s.authorities.Put(ctx, own)
}
