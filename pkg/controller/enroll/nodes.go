package enroll

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/pkg/wire/pki"
)

// Lifetimes of join tokens.
const (
	DefaultJoinTTL = time.Hour
	MaxJoinTTL     = 7 * 24 * time.Hour
	minJoinTTL     = time.Minute
)

// ErrRequest tells that what was asked for can't be: the text says what to change.
var ErrRequest = errors.New("not possible")

// NewJoinToken makes a token with which one machine becomes the node, once, within ttl (0:
// one hour; a minute to 7 days). by is who asks, for the list of tokens. Errors wrap
// ErrRequest or those of the store.
func (s *Service) NewJoinToken(ctx context.Context, node string, ttl time.Duration, by string) (pki.JoinToken, time.Time, error) {
	if ttl == 0 {
		ttl = DefaultJoinTTL
	}
	if ttl < minJoinTTL || ttl > MaxJoinTTL {
		return pki.JoinToken{}, time.Time{}, fmt.Errorf("make join token for node %.80q: %w: it must be good for %s to %s, not %s", node, ErrRequest, minJoinTTL, MaxJoinTTL, ttl)
	}
	token, err := s.cfg.Authority().NewJoinToken(node)
	if err != nil {
		return pki.JoinToken{}, time.Time{}, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	expires := time.Now().Add(ttl).UTC().Truncate(time.Second)
	err = s.cfg.Store.Tokens().Create(ctx, store.JoinToken{
		ID: token.ID, SecretHash: token.Hash(), Node: node, ExpiresAt: expires, CreatedBy: by,
	})
	if err != nil {
		return pki.JoinToken{}, time.Time{}, fmt.Errorf("make join token for node %s: %w", node, err)
	}
	return token, expires, nil
}

// RemoveNode forgets a node and revokes its certificates: its calls are refused from now
// on, and its open streams end. Errors wrap those of the store.
func (s *Service) RemoveNode(ctx context.Context, node string) error {
	if err := s.cfg.Store.RemoveNode(ctx, node); err != nil {
		return err
	}
	s.cfg.Recheck(ctx)
	return nil
}
