package store_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"ktrdr.io/fleet/pkg/controller/store"
	"ktrdr.io/fleet/test/leaks"
)

// patience only keeps a test from waiting for ever.
const patience = 2 * time.Minute

const (
	// calm is a lease that no slow machine lets end: of sessions that are not to be lost.
	calm = time.Minute
	// short is a lease whose end is waited for.
	short = 3 * time.Second
)

// shared is one etcd for all tests that don't need one of their own; each has a prefix.
var (
	shared   string
	prefixes atomic.Int64
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirVariable); dir != "" {
		crashWriter(dir)
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	// Sockets of peers are files whose names are host:port, in the working folder.
	if err := os.Chdir(dir); err != nil {
		panic(err)
	}
	etcd, err := embed.StartEtcd(memberConfig(dir, "alone", nil))
	if err != nil {
		panic(err)
	}
	<-etcd.Server.ReadyNotify()
	shared = clientURL(dir, "alone").String()
	code := m.Run()
	etcd.Close()
	if code == 0 {
		if err := leaks.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

func clientURL(dir, name string) *url.URL {
	return &url.URL{Scheme: "unix", Path: filepath.Join(dir, name+".sock")}
}

func peerURL(dir, name string) *url.URL {
	return &url.URL{Scheme: "unix", Host: filepath.Base(dir) + name + ":0"}
}

// memberConfig is a real member; names are all members of its cluster.
func memberConfig(dir, name string, names []string) *embed.Config {
	config := embed.NewConfig()
	config.Name = name
	config.Dir = filepath.Join(dir, name)
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	config.ListenClientUrls = []url.URL{*clientURL(dir, name)}
	config.AdvertiseClientUrls = config.ListenClientUrls
	config.ListenPeerUrls = nil
	config.TickMs, config.ElectionMs = 20, 200
	if names == nil {
		config.AdvertisePeerUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
		config.InitialCluster = config.InitialClusterFromName(name)
		return config
	}
	config.ListenPeerUrls = []url.URL{*peerURL(dir, name)}
	config.AdvertisePeerUrls = config.ListenPeerUrls
	var members []string
	for _, each := range names {
		members = append(members, each+"="+peerURL(dir, each).String())
	}
	config.InitialCluster = strings.Join(members, ",")
	return config
}

// open opens a store of its own in the shared etcd.
func open(t *testing.T) *store.Store {
	t.Helper()
	return openAt(t, prefix(), shared)
}

func prefix() string { return fmt.Sprintf("/test/%d/", prefixes.Add(1)) }

func openAt(t *testing.T, prefix string, endpoints ...string) *store.Store {
	t.Helper()
	return openLeased(t, calm, prefix, endpoints...)
}

func openLeased(t *testing.T, lease time.Duration, prefix string, endpoints ...string) *store.Store {
	t.Helper()
	return openConfig(t, store.Config{External: &store.External{Endpoints: endpoints, Prefix: prefix}, Lease: lease})
}

func openEmbedded(t *testing.T, dir string) *store.Store {
	t.Helper()
	return openConfig(t, store.Config{Embedded: &store.Embedded{Dir: dir}})
}

func openConfig(t *testing.T, config store.Config) *store.Store {
	t.Helper()
	config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := store.Open(t.Context(), config)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// session registers a controller until the test's end.
func session(t *testing.T, s *store.Store, id string) *store.Session {
	t.Helper()
	opened, err := s.OpenSession(t.Context(), store.Controller{ID: id})
	if err != nil {
		t.Fatalf("open session: %v", err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return opened
}

// until waits for a condition.
func until(t *testing.T, what string, met func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !met(ctx) {
		select {
		case <-ctx.Done():
			t.Fatalf("waited %s in vain: %s", patience, what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
