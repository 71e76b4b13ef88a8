package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// RemoveNode deletes a node with its status and revokes its certificates, in one transaction:
// they are refused until they expire. ErrNotFound if there is no such node. Where it is
// connected stays; who holds the stream ends it.
func (s *Store) RemoveNode(ctx context.Context, name string) error {
	err := s.nodes.retry(ctx, func() (bool, error) {
		old, err := s.nodes.load(ctx, name)
		if err != nil {
			return false, err
		}
		ops := []clientv3.Op{clientv3.OpDelete(s.statuses.path(name))}
		for _, serial := range []string{old.value.CertSerial, old.value.PrevSerial} {
			if serial == "" {
				continue
			}
			// The one before expires earlier than that, which does no harm.
			key, raw, err := s.revoked.encode(Revoked{Serial: serial, Node: name, Until: old.value.CertNotAfter})
			if err != nil {
				return false, err
			}
			ops = append(ops, clientv3.OpPut(s.revoked.path(key), string(raw)))
		}
		return s.nodes.swap(ctx, change[Node]{key: name, old: &old, with: ops})
	})
	if err != nil {
		return s.nodes.failed("remove", name, err)
	}
	return nil
}

// IsRevoked tells whether a certificate is refused. When it can't be known, that is an error,
// and the caller refuses.
func (s *Store) IsRevoked(ctx context.Context, serial string) (bool, error) {
	_, err := s.revoked.Get(ctx, serial)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Sweep deletes what is past its end: revoked certificates that have expired, join tokens,
// and audit entries that are too old or too many. The leader calls it now and then. It
// returns how many records went.
func (s *Store) Sweep(ctx context.Context, now time.Time, audit Retention) (int, error) {
	revoked, err := sweep(ctx, s.revoked, func(r Revoked) bool { return now.After(r.Until) })
	tokens, tokensErr := sweep(ctx, s.tokens, func(t JoinToken) bool { return now.After(t.ExpiresAt) })
	entries, auditErr := s.sweepAudit(ctx, now, audit)
	if err := errors.Join(err, tokensErr, auditErr); err != nil {
		return revoked + tokens + entries, fmt.Errorf("sweep the store: %w", err)
	}
	return revoked + tokens + entries, nil
}

// sweep deletes the records that are over, unless somebody changes them meanwhile.
func sweep[T any](ctx context.Context, t *Table[T], over func(T) bool) (int, error) {
	entries, _, err := t.scan(ctx, t.folder(), 0)
	if err != nil {
		return 0, err
	}
	count := 0
	for _, each := range entries {
		if !over(each.value) {
			continue
		}
		done, err := t.swap(ctx, change[T]{key: each.key, old: &each})
		if err != nil {
			return count, t.failed("delete", each.key, err)
		}
		if done {
			count++
		}
	}
	return count, nil
}
