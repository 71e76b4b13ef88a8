package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Connect says that a node's stream is here, whoever had it before: a node has one stream,
// and the newest is the real one. It sets Controller. It stays, over outages too, until
// Disconnect or until another controller says the same. After ErrUnavailable there is nothing
// to repeat: the session registers it when it can.
func (se *Session) Connect(ctx context.Context, c Connection) error {
	c.Controller = se.self.ID
	if _, _, err := se.store.connections.encode(c); err != nil {
		return se.store.connections.failed("register", c.Node, err)
	}
	se.settling.RLock()
	defer se.settling.RUnlock()
	se.mu.Lock()
	se.connections[c.Node] = &presence{Connection: c}
	se.mu.Unlock()
	now, err := se.present()
	if err != nil {
		return se.store.connections.failed("register", c.Node, err)
	}
	if err := putLeased(ctx, se.store.connections, now.lease, c); err != nil {
		now.over(err)
		return err
	}
	se.registered(c, now.lease)
	return nil
}

// registered notes it, unless the node has connected anew meanwhile.
func (se *Session) registered(c Connection, lease clientv3.LeaseID) {
	se.mu.Lock()
	defer se.mu.Unlock()
	if own, ok := se.connections[c.Node]; ok && own.Since.Equal(c.Since) {
		own.lease = lease
	}
}

// forget is registered's opposite: this session no longer stands for it.
func (se *Session) forget(node string, since time.Time) {
	se.mu.Lock()
	defer se.mu.Unlock()
	if own, ok := se.connections[node]; ok && own.Since.Equal(since) {
		delete(se.connections, node)
	}
}

// Disconnect takes back what Connect said at that time (Since), unless the node has
// connected anew meanwhile, here or elsewhere.
func (se *Session) Disconnect(ctx context.Context, node string, since time.Time) error {
	se.forget(node, since)
	t := se.store.connections
	old, err := t.load(ctx, node)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	case old.value.Controller != se.self.ID || !old.value.Since.Equal(since):
		return nil
	}
	// Not done means that somebody else wrote it meanwhile, which is as good.
	if _, err = t.swap(ctx, change[Connection]{key: node, old: &old}); err != nil {
		return t.failed("unregister", node, err)
	}
	return nil
}

// reclaim registers a connection, unless the node has connected to another controller since:
// it is left there, and forgotten here.
func (se *Session) reclaim(ctx context.Context, lease clientv3.LeaseID, c Connection) error {
	t := se.store.connections
	return t.retry(ctx, func() (bool, error) {
		step := change[Connection]{key: c.Node, value: &c, lease: lease}
		old, err := t.load(ctx, c.Node)
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return false, err
		case old.value.Controller != se.self.ID && old.value.Since.After(c.Since):
			se.forget(c.Node, c.Since)
			return true, nil
		default:
			step.old = &old
		}
		if _, step.raw, err = t.encode(c); err != nil {
			return false, err
		}
		done, err := t.swap(ctx, step)
		if done {
			se.registered(c, lease)
		}
		return done, err
	})
}

// PutStatus writes a node's newest status if the node's stream is at this controller, so that
// one that had it before can't overwrite what is newer; else ErrConflict.
func (se *Session) PutStatus(ctx context.Context, status Status) error {
	t := se.store.statuses
	now, err := se.present()
	if err != nil {
		return t.failed("write", status.Node, err)
	}
	key, raw, err := t.encode(status)
	if err != nil {
		return t.failed("write", key, err)
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := se.store.client.Txn(call).
		If(clientv3.Compare(clientv3.LeaseValue(se.store.connections.path(key)), "=", now.lease)).
		Then(clientv3.OpPut(t.path(key), string(raw))).Commit()
	if err == nil && !answer.Succeeded {
		err = ErrConflict
	} else {
		err = classify(ctx, err)
	}
	if err != nil {
		return t.failed("write", key, err)
	}
	return nil
}

// putLeased writes a record that goes with a lease.
func putLeased[T any](ctx context.Context, t *Table[T], lease clientv3.LeaseID, value T) error {
	key, raw, err := t.encode(value)
	if err != nil {
		return t.failed("register", key, err)
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err = t.store.client.Put(call, t.path(key), string(raw), clientv3.WithLease(lease)); err != nil {
		if isLeaseGone(err) {
			err = fmt.Errorf("%w: %w", ErrUnavailable, err)
		} else {
			err = classify(ctx, err)
		}
		return t.failed("register", key, err)
	}
	return nil
}

func isLeaseGone(err error) bool { return errors.Is(err, rpctypes.ErrLeaseNotFound) }
