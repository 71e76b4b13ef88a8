package store

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"
)

// Redemption is the use of a join token.
type Redemption struct {
	ID string
	// Hash is SHA-256 of the presented secret in hexadecimal.
	Hash string
	// Node is whom the peer takes the token to be for.
	Node string
	// Key identifies the public key that the peer wants a certificate for.
	Key string
	// From is the peer's address.
	From string
	At   time.Time
}

// Redeem uses a join token up, in one compare-and-swap: of all machines that try at once,
// one succeeds. It returns the token as it was used. The same key may redeem it again until
// it expires: the first answer may have got lost. ErrTokenInvalid does not tell a wrong id
// from a wrong secret or node; ErrTokenUsed and ErrTokenExpired are told to those only who
// know the secret. After ErrUnavailable the token may be used up.
func (s *Store) Redeem(ctx context.Context, r Redemption) (JoinToken, error) {
	if checkKey(r.ID) != nil {
		return JoinToken{}, fmt.Errorf("redeem a join token: %w", ErrTokenInvalid)
	}
	var redeemed JoinToken
	err := s.tokens.retry(ctx, func() (bool, error) {
		old, err := s.tokens.load(ctx, r.ID)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return false, err
		}
		// Without a token it is compared as well, so that both take the same time.
		same := subtle.ConstantTimeCompare([]byte(old.value.SecretHash), []byte(r.Hash)) == 1
		repeated := !old.value.UsedAt.IsZero() && r.Key != "" && old.value.UsedKey == r.Key
		switch {
		case err != nil || !same || old.value.Node != r.Node:
			return false, ErrTokenInvalid
		case !old.value.UsedAt.IsZero() && !repeated:
			return false, ErrTokenUsed
		case !r.At.Before(old.value.ExpiresAt):
			return false, ErrTokenExpired
		}
		redeemed = old.value
		if repeated {
			return true, nil
		}
		redeemed.UsedAt, redeemed.UsedFrom, redeemed.UsedKey = r.At, r.From, r.Key
		_, raw, err := s.tokens.encode(redeemed)
		if err != nil {
			return false, err
		}
		return s.tokens.swap(ctx, change[JoinToken]{key: r.ID, old: &old, value: &redeemed, raw: raw})
	})
	if err != nil {
		return JoinToken{}, fmt.Errorf("redeem join token %s: %w", r.ID, err)
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
