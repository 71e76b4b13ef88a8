package store

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"
)

// Redeem uses a join token up, in one compare-and-swap: of all controllers that try at once,
// one succeeds. hash is SHA-256 of the presented secret in hexadecimal, from the peer's
// address. It returns the token as it was used; whom the token is for is for the caller to
// check against that. ErrTokenInvalid does not tell a wrong id from a wrong secret;
// ErrTokenUsed and ErrTokenExpired are told to those only who know the secret. After
// ErrUnavailable the token may be used up.
func (s *Store) Redeem(ctx context.Context, id, hash, from string, now time.Time) (JoinToken, error) {
	if checkKey(id) != nil {
		return JoinToken{}, fmt.Errorf("redeem a join token: %w", ErrTokenInvalid)
	}
	var redeemed JoinToken
	err := s.tokens.retry(ctx, func() (bool, error) {
		old, err := s.tokens.load(ctx, id)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return false, err
		}
		// Without a token it is compared as well, so that both take the same time.
		same := subtle.ConstantTimeCompare([]byte(old.value.SecretHash), []byte(hash)) == 1
		switch {
		case err != nil || !same:
			return false, ErrTokenInvalid
		case !old.value.UsedAt.IsZero():
			return false, ErrTokenUsed
		case !now.Before(old.value.ExpiresAt):
			return false, ErrTokenExpired
		}
		redeemed = old.value
		redeemed.UsedAt, redeemed.UsedFrom = now, from
		_, raw, err := s.tokens.encode(redeemed)
		if err != nil {
			return false, err
		}
		return s.tokens.swap(ctx, change[JoinToken]{key: id, old: &old, value: &redeemed, raw: raw})
	})
	if err != nil {
		return JoinToken{}, fmt.Errorf("redeem join token %s: %w", id, err)
	}
	return redeemed, nil
}

// OperatorByToken finds whose token has this SHA-256, in hexadecimal: ErrNotFound if nobody's,
// ErrTokenExpired if that operator's time is over.
func (s *Store) OperatorByToken(ctx context.Context, hash string, now time.Time) (Operator, error) {
	if err := checkHash(hash); err != nil {
		return Operator{}, fmt.Errorf("look up an operator: %w", ErrNotFound)
	}
	found, err := s.operators.lookup(ctx, hash)
	if err != nil {
		return Operator{}, err
	}
	if !found.ExpiresAt.IsZero() && !now.Before(found.ExpiresAt) {
		return Operator{}, fmt.Errorf("operator %s: %w", found.Name, ErrTokenExpired)
	}
	return found, nil
}
