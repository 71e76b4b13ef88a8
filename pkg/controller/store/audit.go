package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Retention bounds the audit; zero values bound nothing.
type Retention struct {
	Age   time.Duration // entries older than that go
	Count int           // entries beyond the newest so many go
}

// maxPage bounds one answer of the audit.
const maxPage = 1000

// Record appends an entry and gives it its ID. Entries are in the order of At.
func (s *Store) Record(ctx context.Context, entry Audit) error {
	var random [4]byte
	if _, err := rand.Read(random[:]); err != nil {
		return fmt.Errorf("record %s by %s: %w", entry.What, entry.Who, err)
	}
	entry.ID = descendingTime(entry.At) + "-" + hex.EncodeToString(random[:])
	return s.audit.Create(ctx, entry)
}

// Audit returns up to limit entries (0 = 1000, which is also the most), the newest first;
// with before, the ID of an entry, those older than it.
func (s *Store) Audit(ctx context.Context, limit int, before string) ([]Audit, error) {
	if limit <= 0 || limit > maxPage {
		limit = maxPage
	}
	from := s.audit.folder()
	if before != "" {
		if err := checkKey(before); err != nil {
			return nil, s.audit.failed("list", "", err)
		}
		from = s.audit.path(before) + "\x00"
	}
	return s.audit.first(ctx, from, limit)
}

// sweepAudit deletes the tail of the table in two requests, whatever its length.
func (s *Store) sweepAudit(ctx context.Context, now time.Time, keep Retention) (int, error) {
	count := 0
	if keep.Age > 0 {
		deleted, err := s.dropAudit(ctx, s.audit.path(descendingTime(now.Add(-keep.Age-1))))
		if err != nil {
			return 0, err
		}
		count += deleted
	}
	if keep.Count <= 0 {
		return count, nil
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := s.client.Get(call, s.audit.folder(), clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(int64(keep.Count)))
	if err != nil {
		return count, s.audit.failed("sweep", "", classify(ctx, err))
	}
	if !got.More {
		return count, nil
	}
	deleted, err := s.dropAudit(ctx, string(got.Kvs[len(got.Kvs)-1].Key)+"\x00")
	return count + deleted, err
}

func (s *Store) dropAudit(ctx context.Context, from string) (int, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	gone, err := s.client.Delete(call, from, clientv3.WithRange(rangeEnd(s.audit.folder())))
	if err != nil {
		return 0, s.audit.failed("sweep", "", classify(ctx, err))
	}
	return int(gone.Deleted), nil
}
