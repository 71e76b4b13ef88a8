package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Session is a running controller's presence: what is under its lease disappears when it dies.
// After an outage that was longer than the lease it gets a new one and registers everything
// again. Its methods may be used concurrently.
type Session struct {
	store *Store
	self  Controller
	stop  context.CancelFunc
	done  chan struct{}

	// settling keeps terms from changing while something is registered.
	settling sync.RWMutex

	// epoch is written before anybody else has the session.
	epoch int64

	mu          sync.Mutex
	term        *term // nil while there is none
	changed     chan struct{}
	connections map[string]*presence // by node
}

// presence is a connection that this session stands for.
type presence struct {
	Connection
	lease clientv3.LeaseID // that it is registered under, 0 = not yet
}

// term is one lease of a session. ctx ends when it is lost, or may be.
type term struct {
	lease clientv3.LeaseID
	ctx   context.Context //nolint:containedctx // the lease's life is what this type is
	end   context.CancelFunc
}

// over ends a term of which etcd says that its lease is gone, sooner than the next answer about
// the lease would.
func (t *term) over(err error) {
	if isLeaseGone(err) {
		t.end()
	}
}

// OpenSession registers a controller and keeps it registered, in a goroutine, until Close.
// ctx bounds opening only.
func (s *Store) OpenSession(ctx context.Context, self Controller) (*Session, error) {
	if _, _, err := s.controllers.encode(self); err != nil {
		return nil, s.controllers.failed("register", self.ID, err)
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	session := &Session{
		store: s, self: self, stop: stop, done: make(chan struct{}),
		changed: make(chan struct{}), connections: map[string]*presence{},
	}
	first, err := session.begin(ctx, life)
	if err != nil {
		stop()
		return nil, s.controllers.failed("register", self.ID, err)
	}
	go func() {
		defer close(session.done)
		session.run(life, first)
	}()
	return session, nil
}

// Epoch is a number that is higher for each session than for those of this store that were opened
// before, whatever clocks say.
func (se *Session) Epoch() int64 { return se.epoch }

// Close takes the registration and all connections back at once and waits for the goroutine.
func (se *Session) Close() error {
	lease := clientv3.NoLease
	se.mu.Lock()
	if se.term != nil {
		lease = se.term.lease
	}
	se.mu.Unlock()
	se.stop()
	<-se.done
	if lease == clientv3.NoLease {
		return nil
	}
	call, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if _, err := se.store.client.Revoke(call, lease); err != nil && !isLeaseGone(err) {
		return se.store.controllers.failed("unregister", se.self.ID, classify(context.Background(), err))
	}
	return nil
}

// run lives through one term after another.
func (se *Session) run(life context.Context, now *term) {
	for {
		se.live(now) //nolint:contextcheck // a term has a life of its own, within the session's
		if life.Err() != nil {
			return
		}
		se.store.log.WarnContext(life, "session lost", "controller", se.self.ID)
		for {
			var err error
			if now, err = se.begin(life, life); err == nil {
				break
			}
			if !pause(life) {
				return
			}
		}
		se.store.log.InfoContext(life, "session is back", "controller", se.self.ID)
	}
}

// begin gets a lease, registers under it what the session has, and makes it the current term.
func (se *Session) begin(ctx, life context.Context) (*term, error) {
	se.settling.Lock()
	defer se.settling.Unlock()
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	granted, err := se.store.client.Grant(call, int64(se.store.lease/time.Second))
	if err != nil {
		return nil, classify(ctx, err)
	}
	if err = putLeased(ctx, se.store.controllers, granted.ID, se.self); err == nil {
		err = se.settle(ctx, granted.ID)
	}
	if err != nil {
		// What it holds goes with it, at the latest when it expires.
		_, _ = se.store.client.Revoke(call, granted.ID)
		return nil, err
	}
	if se.epoch == 0 {
		se.epoch = granted.Revision
	}
	next := &term{lease: granted.ID}
	next.ctx, next.end = context.WithCancel(life)
	se.enter(next)
	return next, nil
}

// live keeps a lease until it is lost or the session ends.
func (se *Session) live(now *term) {
	defer se.enter(nil)
	defer now.end()
	answers, err := se.store.client.KeepAlive(now.ctx, now.lease)
	if err != nil {
		return
	}
	// The lease must count as lost here before etcd ends it there: a third of it is
	// left for answers that were long on their way.
	margin := se.store.lease - se.store.lease/3
	timer := time.NewTimer(margin)
	defer timer.Stop()
	for {
		select {
		case _, ok := <-answers:
			if !ok {
				return
			}
			timer.Reset(margin)
			se.resettle(now)
		case <-timer.C:
			return
		}
	}
}

// resettle tries again what Connect could not register.
func (se *Session) resettle(now *term) {
	se.settling.RLock()
	defer se.settling.RUnlock()
	ctx, cancel := context.WithTimeout(now.ctx, se.store.lease/6)
	defer cancel()
	if err := se.settle(ctx, now.lease); err != nil {
		se.store.log.WarnContext(ctx, "connections are not registered yet", "controller", se.self.ID, "err", err)
	}
}

// settle registers under a lease every connection that is not.
func (se *Session) settle(ctx context.Context, lease clientv3.LeaseID) error {
	for _, each := range se.unregistered(lease) {
		if err := se.reclaim(ctx, lease, each); err != nil {
			return err
		}
	}
	return nil
}

func (se *Session) unregistered(lease clientv3.LeaseID) []Connection {
	se.mu.Lock()
	defer se.mu.Unlock()
	var found []Connection
	for _, each := range se.connections {
		if each.lease != lease {
			found = append(found, each.Connection)
		}
	}
	return found
}

// enter makes a term the current one and wakes those who wait for one.
func (se *Session) enter(next *term) {
	se.mu.Lock()
	defer se.mu.Unlock()
	se.term = next
	close(se.changed)
	se.changed = make(chan struct{})
}

// current waits for a term.
func (se *Session) current(ctx context.Context) (*term, error) {
	for {
		se.mu.Lock()
		now, changed := se.term, se.changed
		se.mu.Unlock()
		if now != nil {
			return now, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the session of controller %s: %w", se.self.ID, context.Cause(ctx))
		case <-se.done:
			return nil, fmt.Errorf("session of controller %s: %w: it was closed", se.self.ID, ErrUnavailable)
		}
	}
}

// present is the current term, if there is one now.
func (se *Session) present() (*term, error) {
	se.mu.Lock()
	defer se.mu.Unlock()
	if se.term == nil {
		return nil, fmt.Errorf("session of controller %s: %w", se.self.ID, ErrUnavailable)
	}
	return se.term, nil
}
