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
	// Prefix is where the store's keys are in it; "" = those of the only fleet in it.
	Prefix string
}

// Restore fills an empty store with the records of a backup, and returns how many. It moves a
// store between embedded and external as well. What was leased stays out: it says what ran
// then. So do join tokens: one that was used since would be good again. A store that holds
// anything is refused (ErrExists), but one in which a restore was interrupted, which can't be
// opened otherwise, is begun anew.
func Restore(ctx context.Context, config Config, backup Backup) (int, error) {
	if err := config.Validate(); err != nil {
		return 0, err
	}
	records, err := backup.records(ctx)
	if err != nil {
		return 0, fmt.Errorf("restore the store: read the backup: %w", err)
	}
	s, err := newStore(ctx, config)
	if err != nil {
		return 0, err
	}
	if err := s.claim(ctx); err != nil {
		return 0, fmt.Errorf("restore the store: %w", errors.Join(err, s.Close()))
	}
	if err := errors.Join(s.fill(ctx, records), s.Close()); err != nil {
		return 0, fmt.Errorf("restore the store: %w\nWhat was written is no store yet: restore again", err)
	}
	return len(records), nil
}

// records reads them out of a copy of the data base in a folder of its own.
func (b Backup) records(ctx context.Context) (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "ktrdr-restore-") // mode 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "db")
	if err := unpack(path, b.Content); err != nil {
		return nil, err
	}
	return readBackup(ctx, path, b.Prefix)
}

// unpack writes the data base of a snapshot to a file after looking at its checksum.
func unpack(path string, content io.Reader) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	check := NewCheck(file)
	if _, err := io.Copy(check, content); err != nil {
		return err
	}
	if err := check.Whole(); err != nil {
		return err
	}
	if err := file.Truncate(check.Size() - sha256.Size); err != nil {
		return err
	}
	return file.Close()
}

// readBackup returns the records under a prefix by their keys without it.
func readBackup(ctx context.Context, path, prefix string) (map[string][]byte, error) {
	file := backend.NewDefaultBackend(zap.NewNop(), path)
	defer file.Close()
	kv := mvcc.NewStore(zap.NewNop(), file, &lease.FakeLessor{}, mvcc.StoreConfig{})
	defer kv.Close()
	if prefix == "" {
		var err error
		if prefix, err = onlyFleet(ctx, kv); err != nil {
			return nil, err
		}
	}
	all, err := kv.Range(ctx, []byte(prefix), []byte(rangeEnd(prefix)), mvcc.RangeOptions{})
	if err != nil {
		return nil, err
	}
	records := map[string][]byte{}
	for _, each := range all.KVs {
		key := string(each.Key[len(prefix):])
		if key == schemaKey {
			if err := knownFormat(each); err != nil {
				return nil, err
			}
			continue
		}
		if each.Lease == 0 && !strings.HasPrefix(key, tokensName+"/") {
			records[key] = bytes.Clone(each.Value)
		}
	}
	if len(records) == 0 {
		return nil, fmt.Errorf("no record under %s: %w", prefix, ErrNotFound)
	}
	return records, nil
}

// onlyFleet finds the prefix of the store in a copy of a cluster, in which there may be more.
func onlyFleet(ctx context.Context, kv mvcc.ReadView) (string, error) {
	var found []string
	for from := []byte{0}; ; {
		page, err := kv.Range(ctx, from, []byte{}, mvcc.RangeOptions{Limit: pageKeys}) // an empty end: to the last one
		if err != nil {
			return "", err
		}
		for _, each := range page.KVs {
			from = append(bytes.Clone(each.Key), 0)
			prefix, ok := strings.CutSuffix(string(each.Key), "/"+schemaKey)
			_, err := strconv.Atoi(string(each.Value))
			if ok && (err == nil || string(each.Value) == restoring) {
				found = append(found, prefix+"/")
			}
		}
		if len(page.KVs) < pageKeys {
			break
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("a fleet in it: %w", ErrNotFound)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%d fleets are in it: say which with --prefix: %s", len(found), strings.Join(found, ", "))
}

// fill writes records into a store that claim has emptied.
func (s *Store) fill(ctx context.Context, records map[string][]byte) error {
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

// claim makes sure that the store is empty, or what an interrupted restore has left. The
// format alone, as a controller that was only looked at leaves it, is nothing.
func (s *Store) claim(ctx context.Context) error {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	schema := s.prefix + schemaKey
	before, after := clientv3.WithRange(schema), clientv3.WithRange(rangeEnd(s.prefix))
	mark := clientv3.OpPut(schema, restoring)
	claimed, err := s.client.Txn(call).If(absent(s.prefix).WithRange(schema), absent(schema+"\x00").WithRange(rangeEnd(s.prefix))).
		Then(mark).Commit()
	if err == nil && !claimed.Succeeded {
		claimed, err = s.client.Txn(call).If(clientv3.Compare(clientv3.Value(schema), "=", restoring)).
			Then(clientv3.OpDelete(s.prefix, before), clientv3.OpDelete(schema+"\x00", after), mark).Commit()
	}
	switch {
	case err != nil:
		return classify(ctx, err)
	case !claimed.Succeeded:
		return fmt.Errorf("records under %s: %w", s.prefix, ErrExists)
	}
	return nil
}

// knownFormat checks the schema's key.
func knownFormat(kv *mvccpb.KeyValue) error {
	version, err := strconv.Atoi(string(kv.Value))
	switch {
	case string(kv.Value) == restoring:
		return errors.New("a restore into this store did not end: restore again, with ktrdr-controller restore")
	case err != nil:
		return fmt.Errorf("%s: %q is no number: the prefix belongs to something else", kv.Key, kv.Value)
	case version > schemaVersion:
		return fmt.Errorf("the store has format %d, this controller knows %d: %w", version, schemaVersion, ErrNewer)
	}
	return nil
}
