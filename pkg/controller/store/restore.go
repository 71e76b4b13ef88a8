package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.uber.org/zap"
)

const (
	// restoring stands in the schema's place until a restore has ended.
	restoring = "restoring"
	// batchKeys and batchBytes bound a transaction of a restore; etcd allows 128 and 1.5 MB.
	batchKeys  = 100
	batchBytes = 1 << 20
)

// Backup is what Snapshot has written.
type Backup struct {
	Content io.Reader
	// Prefix is where the store's keys are in it; "" = /ktrdr/.
	Prefix string
}

// Restore fills an empty store with the records of a backup, and returns how many. It moves a
// store between embedded and external as well. What was leased stays out: it says what ran
// then. So do join tokens: one that was used since would be good again. A store that holds anything is refused (ErrExists), but one in which a restore was
// interrupted, which can't be opened otherwise, is begun anew.
func Restore(ctx context.Context, config Config, backup Backup) (int, error) {
	if err := config.Validate(); err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "ktrdr-restore-") // mode 0700
	if err != nil {
		return 0, fmt.Errorf("restore the store: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "db")
	if err := unpack(path, backup.Content); err != nil {
		return 0, fmt.Errorf("restore the store: %w", err)
	}
	if backup.Prefix == "" {
		backup.Prefix = defaultPrefix
	}
	records, err := readBackup(ctx, path, backup.Prefix)
	if err != nil {
		return 0, fmt.Errorf("restore the store: %w", err)
	}
	s, err := newStore(ctx, config)
	if err != nil {
		return 0, err
	}
	err = errors.Join(s.fill(ctx, records), s.Close())
	if err != nil {
		return 0, fmt.Errorf("restore the store: %w", err)
	}
	return len(records), nil
}

// unpack writes the data base of a snapshot to a file after looking at its checksum, the last
// 32 bytes.
func unpack(path string, content io.Reader) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	size, err := io.Copy(file, content)
	if err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	const page = 512 // data bases are a multiple of it
	if size%page != sha256.Size {
		return fmt.Errorf("read the backup: %d bytes: it is cut, or no snapshot of etcd", size)
	}
	size -= sha256.Size
	want := make([]byte, sha256.Size)
	if _, err := file.ReadAt(want, size); err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(file, 0, size)); err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return errors.New("read the backup: its checksum is wrong: it is damaged")
	}
	if err := file.Truncate(size); err != nil {
		return fmt.Errorf("read the backup: %w", err)
	}
	return file.Close()
}

// readBackup returns the records under a prefix by their keys without it.
func readBackup(ctx context.Context, path, prefix string) (map[string][]byte, error) {
	file := backend.NewDefaultBackend(zap.NewNop(), path)
	defer file.Close()
	kv := mvcc.NewStore(zap.NewNop(), file, &lease.FakeLessor{}, mvcc.StoreConfig{})
	defer kv.Close()
	all, err := kv.Range(ctx, []byte(prefix), []byte(rangeEnd(prefix)), mvcc.RangeOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the backup: %w", err)
	}
	records := map[string][]byte{}
	for _, each := range all.KVs {
		key := string(each.Key[len(prefix):])
		if key == schemaKey {
			if err := knownFormat(each); err != nil {
				return nil, fmt.Errorf("read the backup: %w", err)
			}
			continue
		}
		if each.Lease == 0 && !strings.HasPrefix(key, tokensName+"/") {
			records[key] = bytes.Clone(each.Value)
		}
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("read the backup: no record under %s: %w", prefix, ErrNotFound)
	}
	return records, nil
}

// fill writes records into an empty store.
func (s *Store) fill(ctx context.Context, records map[string][]byte) error {
	if err := s.claim(ctx); err != nil {
		return err
	}
	var batch []clientv3.Op
	size := 0
	flush := func() error {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		_, err := s.client.Txn(call).Then(batch...).Commit()
		batch, size = nil, 0
		return classify(ctx, err)
	}
	for key, value := range records {
		if len(batch) == batchKeys || (len(batch) > 0 && size+len(value) > batchBytes) {
			if err := flush(); err != nil {
				return err
			}
		}
		batch = append(batch, clientv3.OpPut(s.prefix+key, string(value)))
		size += len(key) + len(value)
	}
	batch = append(batch, clientv3.OpPut(s.prefix+schemaKey, strconv.Itoa(schemaVersion)))
	return flush()
}

// claim makes sure that the store is empty, or what an interrupted restore has left.
func (s *Store) claim(ctx context.Context) error {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	schema := s.prefix + schemaKey
	there, err := s.client.Get(call, s.prefix, clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly())
	if err != nil {
		return classify(ctx, err)
	}
	free := absent(schema)
	if len(there.Kvs) > 0 {
		free = clientv3.Compare(clientv3.Value(schema), "=", restoring)
	}
	claimed, err := s.client.Txn(call).If(free).Then(
		clientv3.OpDelete(s.prefix, clientv3.WithRange(schema)),
		clientv3.OpDelete(schema+"\x00", clientv3.WithRange(rangeEnd(s.prefix))),
		clientv3.OpPut(schema, restoring)).Commit()
	switch {
	case err != nil:
		return classify(ctx, err)
	case !claimed.Succeeded:
		return fmt.Errorf("there are records under %s: give an empty folder or prefix: %w", s.prefix, ErrExists)
	}
	return nil
}

// knownFormat checks the schema's key.
func knownFormat(kv *mvccpb.KeyValue) error {
	version, err := strconv.Atoi(string(kv.Value))
	switch {
	case string(kv.Value) == restoring:
		return errors.New("a restore into this store did not end; restore again")
	case err != nil:
		return fmt.Errorf("%s: %q is no number: the prefix belongs to something else", kv.Key, kv.Value)
	case version > schemaVersion:
		return fmt.Errorf("the store has format %d, this controller knows %d: %w", version, schemaVersion, ErrNewer)
	}
	return nil
}
