package source_test

import (
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/test/port"
)

// mute accepts connections and never says a word.
func mute(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		var open []net.Conn
		defer func() {
			for _, c := range open {
				_ = c.Close()
			}
		}()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open = append(open, c)
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

// back is how long a Fetch may take to come back when its time is over, on a slow machine; its
// own limit is far longer.
const back = 30 * time.Second

// hangs wants Fetch to be back soon after its deadline, and canceling to end it as well.
func hangs(t testing.TB, g *source.Git) {
	t.Helper()
	const limit = 300 * time.Millisecond
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	_, err := g.Fetch(ctx, "")
	if took := time.Since(start); took < limit || took > limit+back {
		t.Errorf("back after %s, want %s (%v)", took, limit, err)
	}
	wantError(t, err, source.ReasonUnreachable, "in time")
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	start = time.Now()
	_, err = g.Fetch(ctx, "")
	if took := time.Since(start); took > back {
		t.Errorf("canceled, and back after %s", took)
	}
	wantError(t, err, source.ReasonCanceled)
}

func TestConnectionRefused(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	write(t, key+".hosts", "")
	addr := port.Reserve(t)
	for _, url := range []string{"https://" + addr + "/x.git", "ssh://git@" + addr + "/x.git", "https://no-such-host.invalid/x.git"} {
		g, err := source.NewGit(source.GitConfig{
			URL: url, CacheDir: t.TempDir(), SSH: source.SSHAuth{KeyFile: key, KnownHostsFile: key + ".hosts"},
		})
		if err != nil {
			t.Fatal(err)
		}
		refused(t, g, source.ReasonUnreachable, url)
	}
}
