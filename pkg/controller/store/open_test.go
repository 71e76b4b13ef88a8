package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/controller/store"
)

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		config store.Config
		want   string // "" = valid
	}{
		"nothing":          {store.Config{}, "exactly one"},
		"both":             {store.Config{Embedded: &store.Embedded{Dir: "/a"}, External: &store.External{Endpoints: []string{"https://a"}}}, "exactly one"},
		"embedded":         {store.Config{Embedded: &store.Embedded{Dir: "/a"}}, ""},
		"relative folder":  {store.Config{Embedded: &store.Embedded{Dir: "a"}}, "absolute"},
		"negative quota":   {store.Config{Embedded: &store.Embedded{Dir: "/a", QuotaBytes: -1}}, "quotaBytes"},
		"short lease":      {store.Config{Embedded: &store.Embedded{Dir: "/a"}, Lease: time.Second}, "lease"},
		"part of a second": {store.Config{Embedded: &store.Embedded{Dir: "/a"}, Lease: 2500 * time.Millisecond}, "lease"},
		"no endpoint":      {store.Config{External: &store.External{}}, "endpoints"},
		"TLS":              {store.Config{External: &store.External{Endpoints: []string{"https://etcd:2379"}}}, ""},
		"in the clear":     {store.Config{External: &store.External{Endpoints: []string{"http://etcd:2379"}}}, "endpoints[0]"},
		"loopback":         {store.Config{External: &store.External{Endpoints: []string{"http://127.0.0.1:2379", "http://[::1]:2379", "http://localhost:1"}}}, ""},
		"no scheme":        {store.Config{External: &store.External{Endpoints: []string{"etcd:2379"}}}, "endpoints[0]"},
		"half a pair":      {store.Config{External: &store.External{Endpoints: []string{"https://a"}, CertFile: "/a"}}, "certFile"},
		"no password":      {store.Config{External: &store.External{Endpoints: []string{"https://a"}, Username: "a"}}, "passwordFile"},
		"prefix":           {store.Config{External: &store.External{Endpoints: []string{"https://a"}, Prefix: "/a"}}, "prefix"},
		"all keys":         {store.Config{External: &store.External{Endpoints: []string{"https://a"}, Prefix: "/"}}, "prefix"},
	} {
		err := c.config.Validate()
		if (err == nil) != (c.want == "") || (err != nil && !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFolderIsLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	first := openEmbedded(t, dir)
	_, err := store.Open(t.Context(), store.Config{Embedded: &store.Embedded{Dir: dir}})
	if err == nil || !strings.Contains(err.Error(), "another controller") {
		t.Fatalf("second open: %v", err)
	}
	if err := first.Ping(t.Context()); err != nil {
		t.Errorf("the first one after that: %v", err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v %v", info.Mode(), err)
	}
}

// TestNothingListens looks for sockets of this process: an embedded store has none.
func TestNothingListens(t *testing.T) {
	before := sockets(t)
	openEmbedded(t, t.TempDir())
	// Those of tests before may still be going.
	for socket := range sockets(t) {
		if !before[socket] {
			t.Errorf("an embedded store has %s", socket)
		}
	}
}

// sockets are those of this process, which names each one as no other before it.
func sockets(t *testing.T) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc")
	}
	found := map[string]bool{}
	for _, entry := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + entry.Name()); err == nil && strings.HasPrefix(target, "socket:") {
			found[target] = true
		}
	}
	return found
}

func TestNewerFormat(t *testing.T) {
	at := prefix()
	c := client(t, shared)
	if _, err := c.Put(t.Context(), at+"schema", "2"); err != nil {
		t.Fatal(err)
	}
	config := store.Config{External: &store.External{Endpoints: []string{shared}, Prefix: at}}
	if _, err := store.Open(t.Context(), config); !errors.Is(err, store.ErrNewer) {
		t.Errorf("open: %v", err)
	}
}

func TestForeignRecords(t *testing.T) {
	at := prefix()
	s, c := openAt(t, at, shared), client(t, shared)
	for key, value := range map[string]string{
		"newer": `{"name":"newer","suspended":true}`, "cut": `{"name":"cut"`, "more": `{"name":"more"}{}`, "other": `{"name":"a"}`,
	} {
		if _, err := c.Put(t.Context(), at+"nodes/"+key, value); err != nil {
			t.Fatal(err)
		}
		want := store.ErrInvalid
		if key == "newer" {
			want = store.ErrNewer
		}
		if _, err := s.Nodes().Get(t.Context(), key); !errors.Is(err, want) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", key, err)
		}
		if _, err := s.Nodes().List(t.Context()); err == nil {
			t.Errorf("%s is listed", key)
		}
		if _, err := c.Delete(t.Context(), at+"nodes/"+key); err != nil {
			t.Fatal(err)
		}
	}
}

func TestInvalidRecords(t *testing.T) {
	s, ctx, soon := open(t), t.Context(), time.Now().Add(time.Hour)
	for name, err := range map[string]error{
		"no key":        s.Nodes().Create(ctx, store.Node{}),
		"path":          s.Nodes().Create(ctx, store.Node{Name: "a/b"}),
		"line":          s.Nodes().Put(ctx, store.Node{Name: "a\nb"}),
		"long name":     s.Nodes().Put(ctx, store.Node{Name: strings.Repeat("a", 201)}),
		"large":         s.Nodes().Put(ctx, store.Node{Name: "a", CertSerial: strings.Repeat("a", 70_000)}),
		"large status":  s.Statuses().Put(ctx, store.Status{Node: "a", Data: make([]byte, 1<<20)}),
		"role":          s.Operators().Create(ctx, store.Operator{Name: "a", Role: "root"}),
		"plain token":   s.Operators().Create(ctx, store.Operator{Name: "a", Role: store.RoleAdmin, TokenHash: "secret"}),
		"plain secret":  s.Tokens().Create(ctx, store.JoinToken{ID: "a", Node: "a", ExpiresAt: soon, SecretHash: strings.Repeat("x", 64)}),
		"token for all": s.Tokens().Create(ctx, store.JoinToken{ID: "a", ExpiresAt: soon, SecretHash: hash("x")}),
		"endless token": s.Tokens().Create(ctx, store.JoinToken{ID: "a", Node: "a", SecretHash: hash("x")}),
	} {
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Nodes().Create(ctx, store.Node{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Nodes().Update(ctx, "a", func(n *store.Node) error { n.Name = "b"; return nil }); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("renamed: %v", err)
	}
}

// TestFull fills the data base to its quota; a restart with nothing else makes room.
func TestFull(t *testing.T) {
	config := store.Config{Embedded: &store.Embedded{Dir: t.TempDir(), QuotaBytes: 16 << 20}}
	s, err := store.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	status := store.Status{Node: "a", Data: make([]byte, 900_000)}
	for range 100 {
		if err = s.Statuses().Put(t.Context(), status); err != nil {
			break
		}
	}
	if !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), "restart the controller") {
		t.Fatalf("full: %v", err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("read when full: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := openConfig(t, config).Statuses().Put(t.Context(), status); err != nil {
		t.Errorf("write after the restart: %v", err)
	}
}

// TestRestartFreesLeases: what a killed embedded controller had registered is gone at once.
func TestRestartFreesLeases(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(t.Context(), store.Config{Embedded: &store.Embedded{Dir: dir}, Lease: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	se, err := s.OpenSession(t.Context(), store.Controller{ID: "c1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := se.Connect(t.Context(), store.Connection{Node: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil { // without its session, as a kill does
		t.Fatal(err)
	}
	_ = se.Close()
	again := openEmbedded(t, dir)
	controllers, err := again.Controllers().List(t.Context())
	connections, err2 := again.Connections().List(t.Context())
	if err := errors.Join(err, err2); err != nil || len(controllers)+len(connections) != 0 {
		t.Errorf("left: %+v %+v %v", controllers, connections, err)
	}
}

// TestOpenIsFast takes the fastest of some: a machine that is busy now and then says nothing about
// the store. The usual time is in docs/spec/store.md.
func TestOpenIsFast(t *testing.T) {
	dir := t.TempDir()
	fill(t, openEmbedded(t, filepath.Join(dir, "other")), 10)
	fastest := time.Hour
	for i := range 5 {
		start := time.Now()
		openEmbedded(t, filepath.Join(dir, fmt.Sprint(i)))
		if fastest = min(fastest, time.Since(start)); fastest < time.Second {
			break
		}
	}
	t.Logf("opened in %s", fastest)
	if fastest > 5*time.Second {
		t.Errorf("opening took %s", fastest)
	}
}

// TestNobodyAnswers also reads what the client logs about it.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	config := store.Config{
		External: &store.External{Endpoints: []string{"unix://" + filepath.Join(t.TempDir(), "none")}},
		Logger:   slog.New(slog.NewJSONHandler(&log, nil)),
	}
	if _, err := store.Open(t.Context(), config); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("open: %v", err)
	}
	if !strings.Contains(log.String(), `"level":"WARN"`) {
		t.Errorf("nothing is logged: %s", &log)
	}
	for line := range strings.Lines(log.String()) {
		if !strings.Contains(line, `"component":"etcd"`) || strings.Contains(line, `"level":"INFO"`) {
			t.Errorf("line: %s", line)
		}
	}
}

// TestQuietStart: a start with nothing wrong has nothing to say. A disk that takes its time is wrong, and etcd says so.
func TestQuietStart(t *testing.T) {
	var log bytes.Buffer
	s, err := store.Open(t.Context(), store.Config{
		Embedded: &store.Embedded{Dir: t.TempDir()}, Logger: slog.New(slog.NewJSONHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(log.String()) {
		if !strings.Contains(line, "took too long") && !strings.Contains(line, "slow fdatasync") {
			t.Errorf("logged: %s", line)
		}
	}
}

// TestFolderInUse names the folder.
func TestFolderInUse(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "etcd"), []byte("in the way"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(t.Context(), store.Config{Embedded: &store.Embedded{Dir: dir}})
	if err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("open: %v", err)
	}
}
