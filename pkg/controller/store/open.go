package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

const (
	// schemaVersion goes up whenever a record gets a field or another form.
	schemaVersion = 1
	schemaKey     = "schema"
	// callTimeout bounds each call, all retries included.
	callTimeout = 5 * time.Second
)

// Store is the open memory. Its methods may be used concurrently; each call ends within
// 5 s, or with its context.
type Store struct {
	client *clientv3.Client
	server *server // nil when the cluster is external
	log    *slog.Logger
	prefix string
	lease  time.Duration

	nodes       *Table[Node]
	revoked     *Table[Revoked]
	tokens      *Table[JoinToken]
	operators   *Table[Operator]
	heads       *Table[Head]
	rollouts    *Table[Rollout]
	statuses    *Table[Status]
	controllers *Table[Controller]
	connections *Table[Connection]
	audit       *Table[Audit]
	authorities *Table[Authority]
}

// Open starts or reaches etcd and returns when it answers. ctx bounds opening only. It refuses
// a store that a newer controller wrote (ErrNewer). The caller closes the Store.
func Open(ctx context.Context, config Config) (*Store, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	s, err := newStore(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// newStore connects and looks at nothing yet.
func newStore(ctx context.Context, config Config) (*Store, error) {
	s := &Store{log: config.Logger, prefix: DefaultPrefix, lease: config.Lease}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.lease == 0 {
		s.lease = defaultLease
	}
	if err := s.connect(ctx, config); err != nil {
		return nil, err
	}
	s.tables()
	return s, nil
}

func (s *Store) connect(ctx context.Context, config Config) error {
	var err error
	if config.External != nil {
		s.prefix = config.External.prefix()
		s.client, err = config.External.dial(ctx, s.log)
		return err
	}
	if s.server, err = config.Embedded.start(ctx, s.log); err != nil {
		return err
	}
	s.client = v3client.New(s.server.etcd.Server)
	return nil
}

// prepare checks the format. An embedded etcd is then freed of what the process before
// left: its leases, and an alarm if the space allows it.
func (s *Store) prepare(ctx context.Context) error {
	if s.server != nil {
		if err := s.reclaim(ctx); err != nil {
			return err
		}
	}
	if err := s.checkSchema(ctx); err != nil {
		return err
	}
	if s.server != nil {
		return s.dropLeases(ctx)
	}
	return nil
}

// Close ends all calls and stops an embedded etcd. Sessions are closed before.
func (s *Store) Close() error {
	err := s.client.Close()
	if errors.Is(err, context.Canceled) {
		err = nil // its own context, which Close has just cancelled
	}
	if s.server != nil {
		err = errors.Join(err, s.server.stop())
	}
	if err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	return nil
}

// Ping asks the quorum for one key: nil says that reads and writes work now.
func (s *Store) Ping(ctx context.Context) error {
	return s.checkSchema(ctx)
}

func (s *Store) checkSchema(ctx context.Context) error {
	key := s.prefix + schemaKey
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	got, err := s.client.Get(call, key)
	if err == nil && len(got.Kvs) == 0 {
		_, err = s.client.Txn(call).If(absent(key)).Then(clientv3.OpPut(key, strconv.Itoa(schemaVersion))).Commit()
		if err == nil {
			got, err = s.client.Get(call, key)
		}
	}
	if err != nil {
		return fmt.Errorf("read the store's format: %w", classify(ctx, err))
	}
	if len(got.Kvs) == 0 {
		return fmt.Errorf("read the store's format: %s: %w", key, ErrNotFound)
	}
	if err := knownFormat(got.Kvs[0]); err != nil {
		return fmt.Errorf("read the store's format: %w", err)
	}
	return nil
}

func absent(key string) clientv3.Cmp { return clientv3.Compare(clientv3.CreateRevision(key), "=", 0) }
