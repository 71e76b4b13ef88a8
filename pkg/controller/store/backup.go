package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Snapshot writes a consistent copy of the whole data base (of an external cluster: of all
// that is in it) with its checksum, in etcd's format. It holds digests of tokens: keep it as
// the store itself. docs/spec/store.md says how to restore it. ctx bounds it, nothing else does.
func (s *Store) Snapshot(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx) // the stream ends with a writer that fails
	defer cancel()
	reader, err := s.client.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("back the store up: %w", refusedSnapshot(ctx, err))
	}
	_, err = io.Copy(w, reader)
	if err = errors.Join(err, reader.Close()); err != nil {
		return fmt.Errorf("back the store up: %w", refusedSnapshot(ctx, err))
	}
	return nil
}

// refusedSnapshot says what a user of etcd lacks who may use the prefix only.
func refusedSnapshot(ctx context.Context, err error) error {
	if status.Code(err) == codes.PermissionDenied || errors.Is(err, rpctypes.ErrPermissionDenied) {
		return fmt.Errorf("%w: a copy is of the whole cluster, which takes etcd's role root: "+
			"make it with `etcdctl --user root snapshot save FILE`, restore reads that too", err)
	}
	return classify(ctx, err)
}

// Save writes a Snapshot of a store that is not open in this process. It makes nothing: where
// there is no store it is ErrNotFound. An embedded one must not be open elsewhere (ErrLocked).
func Save(ctx context.Context, config Config, w io.Writer) (err error) {
	if err := config.Validate(); err != nil {
		return err
	}
	if e := config.Embedded; e != nil {
		if _, err := os.Stat(filepath.Join(e.Dir, dataFolder)); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("%s holds no store: %w", e.Dir, ErrNotFound)
			}
			return fmt.Errorf("back the store up: %w", err)
		}
	}
	s, err := newStore(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	format, err := s.client.Get(call, s.prefix+schemaKey)
	switch {
	case err != nil:
		err = classify(ctx, err)
	case len(format.Kvs) == 0:
		err = fmt.Errorf("no controller has written anything under %s: %w", s.prefix, ErrNotFound)
	default:
		err = knownFormat(format.Kvs[0])
	}
	if err != nil {
		return fmt.Errorf("back the store up: %w", err)
	}
	return s.Snapshot(ctx, w)
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
