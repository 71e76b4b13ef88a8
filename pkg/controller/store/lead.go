package store

import (
	"context"
	"errors"
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Lead runs fn while this controller leads the named election: it waits its turn, and calls
// fn with a context that ends when leadership is lost or may be (a third of the lease before
// etcd gives it to another one). fn is called again after leadership was lost. Lead returns
// when ctx or the session ends, or when fn returns while it still leads, with fn's error;
// leadership is given up then. fn decides by compare-and-swap nevertheless: a process that
// was paused learns of its loss only when it runs again. A session stands for an election once.
func (se *Session) Lead(ctx context.Context, name string, fn func(context.Context) error) error {
	if err := checkKey(name); err != nil {
		return fmt.Errorf("lead %q: %w", name, err)
	}
	for {
		now, err := se.current(ctx)
		if err != nil {
			return err
		}
		done, err := se.leadOnce(ctx, now, name, fn)
		if done || ctx.Err() != nil {
			return err
		}
		if err != nil {
			se.store.log.WarnContext(ctx, "election waits for etcd", "election", name, "err", err)
		}
		if !pause(ctx) {
			return context.Cause(ctx)
		}
	}
}

// leadOnce campaigns and leads within one term. done means that there is nothing left to do.
func (se *Session) leadOnce(ctx context.Context, now *term, name string, fn func(context.Context) error) (done bool, err error) {
	leading, lost := context.WithCancel(ctx)
	defer lost()
	release := context.AfterFunc(now.ctx, lost) //nolint:contextcheck // the term's end is one of two that count
	defer release()
	folder := se.store.prefix + "elections/" + name + "/"
	key := fmt.Sprintf("%s%016x", folder, int64(now.lease))
	defer se.resign(context.WithoutCancel(ctx), key)
	revision, err := se.candidate(leading, key, now.lease)
	if err != nil {
		now.over(err)
		return false, err
	}
	if err := se.turn(leading, folder, revision); err != nil {
		return false, err
	}
	se.store.log.InfoContext(ctx, "leading", "election", name, "controller", se.self.ID)
	var guard sync.WaitGroup
	guard.Go(func() {
		// Sooner than the next answer about the lease, if somebody else ended it.
		if se.gone(leading, key, revision+1) == nil {
			lost()
		}
	})
	err = fn(leading)
	held := leading.Err() == nil
	lost()
	guard.Wait()
	if !held && ctx.Err() == nil {
		se.store.log.WarnContext(ctx, "leadership lost", "election", name, "controller", se.self.ID, "err", err)
		return false, nil
	}
	return true, err
}

// candidate queues up and returns the place in the queue.
func (se *Session) candidate(ctx context.Context, key string, lease clientv3.LeaseID) (int64, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := se.store.client.Txn(call).If(absent(key)).
		Then(clientv3.OpPut(key, se.self.ID, clientv3.WithLease(lease))).
		Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		return 0, fmt.Errorf("stand for election: %w", classify(ctx, err))
	}
	if answer.Succeeded {
		return answer.Header.Revision, nil
	}
	kvs := answer.Responses[0].GetResponseRange().GetKvs()
	if len(kvs) == 0 {
		return 0, fmt.Errorf("stand for election: %w", ErrConflict)
	}
	return kvs[0].CreateRevision, nil
}

// turn waits until nobody who came before is left.
func (se *Session) turn(ctx context.Context, folder string, revision int64) error {
	options := append(clientv3.WithLastCreate(), clientv3.WithMaxCreateRev(revision-1))
	for {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		before, err := se.store.client.Get(call, folder, options...)
		cancel()
		if err != nil {
			return fmt.Errorf("wait for leadership: %w", classify(ctx, err))
		}
		if len(before.Kvs) == 0 {
			return nil
		}
		if err := se.gone(ctx, string(before.Kvs[0].Key), before.Header.Revision+1); err != nil {
			return err
		}
	}
}

// gone waits until a key, which was there before a revision, is deleted.
func (se *Session) gone(ctx context.Context, key string, from int64) error {
	for {
		err := se.deleted(ctx, key, from)
		if !errors.Is(err, errCompacted) {
			return err
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		got, err := se.store.client.Get(call, key)
		cancel()
		if err != nil {
			return fmt.Errorf("wait for leadership: %w", classify(ctx, err))
		}
		if len(got.Kvs) == 0 {
			return nil
		}
		from = got.Header.Revision + 1
	}
}

func (se *Session) deleted(ctx context.Context, key string, from int64) error {
	watch, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	for answer := range se.store.client.Watch(watch, key, clientv3.WithRev(from), clientv3.WithFilterPut()) {
		switch err := answer.Err(); {
		case isCompacted(err):
			return errCompacted
		case err != nil:
			return fmt.Errorf("wait for leadership: %w", classify(ctx, err))
		case len(answer.Events) > 0:
			return nil
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("wait for leadership: %w", ErrUnavailable)
}

// resign leaves the queue. When etcd does not answer the lease's end does it.
func (se *Session) resign(ctx context.Context, key string) {
	call, cancel := context.WithTimeout(ctx, se.store.lease/3)
	defer cancel()
	_, _ = se.store.client.Delete(call, key)
}
