package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Snapshot writes a consistent copy of the whole data base (of an external cluster: of all
// that is in it) with its checksum, in etcd's format. It holds digests of tokens: keep it as
// the store itself. docs/spec/store.md says how to restore it. ctx bounds it, nothing else does.
func (s *Store) Snapshot(ctx context.Context, w io.Writer) error {
	reader, err := s.client.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("back the store up: %w", classify(ctx, err))
	}
	_, err = io.Copy(w, reader)
	if err = errors.Join(err, reader.Close()); err != nil {
		return fmt.Errorf("back the store up: %w", classify(ctx, err))
	}
	return nil
}

// reclaim frees the space of an embedded data base that has reached its quota: history
// goes, the file shrinks, and writes are allowed again if that was enough.
func (s *Store) reclaim(ctx context.Context) error {
	alarms, err := s.client.AlarmList(ctx)
	if err != nil {
		return fmt.Errorf("read the alarms of the embedded etcd: %w", classify(ctx, err))
	}
	for _, alarm := range alarms.Alarms {
		if alarm.Alarm != pb.AlarmType_NOSPACE {
			continue
		}
		s.log.WarnContext(ctx, "the store is full: compacting it")
		if err := s.compact(ctx); err != nil {
			return fmt.Errorf("free space in the embedded etcd: %w", err)
		}
		if _, err := s.client.AlarmDisarm(ctx, (*clientv3.AlarmMember)(alarm)); err != nil {
			return fmt.Errorf("free space in the embedded etcd: %w", classify(ctx, err))
		}
	}
	return nil
}

func (s *Store) compact(ctx context.Context) error {
	newest, err := s.client.Get(ctx, s.prefix+schemaKey)
	if err != nil {
		return classify(ctx, err)
	}
	if _, err = s.client.Compact(ctx, newest.Header.Revision, clientv3.WithCompactPhysical()); err != nil && !isCompacted(err) {
		return classify(ctx, err)
	}
	// Not through the client: in the process, its Defragment of v3.7.3 calls a notifier that is nil.
	return s.server.etcd.Server.Backend().Defrag()
}

// dropLeases ends what the process before left registered: its folder was locked, so it is
// dead, and nobody has to wait for its leases' end.
func (s *Store) dropLeases(ctx context.Context) error {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	leases, err := s.client.Leases(call)
	if err != nil {
		return fmt.Errorf("list what the process before left: %w", classify(ctx, err))
	}
	for _, lease := range leases.Leases {
		if _, err := s.client.Revoke(call, lease.ID); err != nil && !isLeaseGone(err) {
			return fmt.Errorf("drop what the process before left: %w", classify(ctx, err))
		}
	}
	return nil
}
