package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"

	"ktrdr.io/fleet/pkg/controller/store"
)

// cluster is three real members in this process.
type cluster struct {
	dir     string
	names   []string
	members map[string]*embed.Etcd
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "c") //nolint:usetesting // paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{dir: dir, names: []string{"m1", "m2", "m3"}, members: map[string]*embed.Etcd{}}
	t.Cleanup(func() {
		for _, member := range c.members {
			member.Close()
		}
		_ = os.RemoveAll(dir)
	})
	c.start(t, c.names...)
	return c
}

// start starts members, all at once: they wait for each other.
func (c *cluster) start(t *testing.T, names ...string) {
	t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	for _, name := range names {
		all.Go(func() {
			member, err := embed.StartEtcd(memberConfig(c.dir, name, c.names))
			if err != nil {
				t.Errorf("start %s: %v", name, err)
				return
			}
			mu.Lock()
			c.members[name] = member
			mu.Unlock()
			select {
			case <-member.Server.ReadyNotify():
			case <-time.After(patience):
				t.Errorf("%s is not ready", name)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func (c *cluster) kill(name string) {
	c.members[name].Close()
	delete(c.members, name)
}

func (c *cluster) endpoints() []string {
	var urls []string
	for _, name := range c.names {
		urls = append(urls, clientURL(c.dir, name).String())
	}
	return urls
}

// leader is the name of the member that leads.
func (c *cluster) leader(t *testing.T) string {
	t.Helper()
	name := ""
	until(t, "the cluster has a leader", func(context.Context) bool {
		for each, member := range c.members {
			if member.Server.Leader() == member.Server.MemberID() {
				name = each
				return true
			}
		}
		return false
	})
	return name
}

func TestCluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	stores := []*store.Store{openAt(t, "/a/", c.endpoints()...), openAt(t, "/a/", c.endpoints()...)}
	redeemOnce(t, stores...)
	advanceAll(t, stores...)
}

// TestMemberDies kills the cluster's leader while two controllers write, lead and watch.
func TestMemberDies(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	s1, s2 := openAt(t, "/a/", c.endpoints()...), openAt(t, "/a/", c.endpoints()...)
	c1 := session(t, s1, "c1")
	if err := c1.Connect(t.Context(), store.Connection{Node: "a", Since: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	l := &leader{terms: make(chan string, 10)}
	defer l.run(t, c1, "c1")()
	l.next(t)
	w := follow(t, s2, 0)
	w.expect(t, "resync", "synced")

	c.kill(c.leader(t))
	until(t, "writes go on", func(ctx context.Context) bool {
		err := s1.Nodes().Put(ctx, store.Node{Name: "n1"})
		if err != nil && !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("an outage is told as %v", err)
		}
		return err == nil
	})
	w.expect(t, "put n1")
	if !connectedTo(s2, "a", "c1")(t.Context()) {
		t.Error("the connection is gone although its controller lives")
	}
}

// TestQuorumLost takes two members away for longer than a lease: calls say so, leadership ends, and
// everything comes back with the members.
func TestQuorumLost(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	s := openLeased(t, short, "/a/", c.endpoints()...)
	c1 := session(t, s, "c1")
	until(t, "a is connected", func(ctx context.Context) bool {
		return c1.Connect(ctx, store.Connection{Node: "a", Since: time.Unix(1, 0)}) == nil
	})
	leading := make(chan context.Context, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c1.Lead(ctx, "rollouts", func(ctx context.Context) error {
			leading <- ctx
			<-ctx.Done()
			return nil
		})
	}()
	defer func() { cancel(); <-ended }()
	// A machine that stalls for longer than the lease lets a term end before its time.
	term := func(when string) context.Context {
		for {
			select {
			case got := <-leading:
				if got.Err() == nil {
					return got
				}
			case <-time.After(patience):
				t.Fatalf("nobody leads %s", when)
			}
		}
	}
	last := term("at first")
	w := follow(t, s, 0)
	w.expect(t, "resync", "synced")

	c.kill("m1")
	c.kill("m2")
	start := time.Now()
	err := s.Nodes().Create(t.Context(), store.Node{Name: "n1"})
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "create nodes n1") {
		t.Errorf("a write without quorum: %v", err)
	}
	if took := time.Since(start); took > 30*time.Second { // 5 s, on an idle machine
		t.Errorf("a write without quorum took %s", took)
	}
	if err := s.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("ping without quorum: %v", err)
	}
	for {
		select {
		case <-last.Done():
		case <-time.After(patience):
			t.Fatal("leadership outlives the quorum")
		}
		if len(leading) == 0 {
			break
		}
		last = <-leading
	}
	if err := c1.Connect(t.Context(), store.Connection{Node: "b", Since: time.Unix(2, 0)}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("connect without quorum: %v", err)
	}

	c.start(t, "m1", "m2")
	until(t, "a is back", connectedTo(s, "a", "c1"))
	until(t, "b, which came during the outage, is registered", connectedTo(s, "b", "c1"))
	term("after the outage")
	put(t, s, "n2")
	for {
		change, ok := w.next()
		if !ok {
			t.Fatal("the watch ended")
		}
		if change.Key == "n2" {
			break
		}
	}
}

// TestControllerDies ends a controller without a word: another one leads when the lease is over, not
// before the first has stopped to.
func TestControllerDies(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	s2 := openAt(t, "/a/", c.endpoints()...)
	const lease = 10 * time.Second // the second one begins so much later than the first one ends
	s1, err := store.Open(t.Context(), store.Config{External: &store.External{Endpoints: c.endpoints(), Prefix: "/a/"}, Lease: lease})
	if err != nil {
		t.Fatal(err)
	}
	c1, err := s1.OpenSession(t.Context(), store.Controller{ID: "c1"})
	if err != nil {
		t.Fatal(err)
	}
	l := &leader{terms: make(chan string, 10)}
	l2 := &leader{terms: make(chan string, 10)}
	var firstEnded time.Time
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		_ = c1.Lead(t.Context(), "rollouts", func(ctx context.Context) error {
			l.terms <- "c1"
			<-ctx.Done()
			firstEnded = time.Now()
			return nil
		})
	}()
	l.next(t)
	c2 := session(t, s2, "c2")
	defer l2.run(t, c2, "c2")()
	// Closing the store first cuts it off: its lease can't be given back.
	if err := s1.Close(); err != nil {
		t.Error(err)
	}
	l2.next(t)
	secondBegan := time.Now()
	_ = c1.Close()
	<-finished
	if firstEnded.After(secondBegan) {
		t.Errorf("the second one led %s before the first one ended", firstEnded.Sub(secondBegan))
	}
}
