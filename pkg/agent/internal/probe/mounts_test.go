package probe_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/probe"
	"ktrdr.io/fleet/pkg/api"
)

func mounts(t *testing.T, config probe.Config) *probe.Mounts {
	t.Helper()
	m, err := probe.NewMounts(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func expect(t *testing.T, got api.MountState, reason api.Reason, words ...string) {
	t.Helper()
	if got.Reason != reason || got.OK != (reason == "") || got.CheckedAt.IsZero() {
		t.Errorf("state %+v, want reason %q", got, reason)
	}
	if reason != "" && got.Message == "" {
		t.Error("no message")
	}
	for _, word := range words {
		if !strings.Contains(got.Message, word) {
			t.Errorf("message %q lacks %q", got.Message, word)
		}
	}
}

// until polls for something that happens in another process.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			t.Fatalf("still not: %s", what)
		case <-tick.C:
		}
	}
}

// hang lets probe, which has the given time for it, give up a helper that hangs on h. One that
// had no time to get there ends when it is given up, and is followed by one with more time.
func hang(t *testing.T, h *hangFS, m *probe.Mounts, probe func(limit time.Duration)) {
	t.Helper()
	for limit := 300 * time.Millisecond; ; limit *= 3 {
		if limit > 30*time.Second {
			t.Fatal("no helper gets to the mount")
		}
		probe(limit)
		until(t, "the helper hangs or has ended", func() bool { return h.touched.Load() || m.Hung() == 0 })
		if h.touched.Load() {
			return
		}
	}
}

func TestHungMount(t *testing.T) {
	fs := mountHangFS(t)
	m := mounts(t, probe.Config{})
	mount := api.RequiredMount{Path: fs.dir, Type: "fuse.hang", Writable: true}
	hang(t, fs, m, func(limit time.Duration) {
		before := time.Now()
		mount.Timeout = limit
		expect(t, m.Probe(t.Context(), mount), api.ReasonMountHung, fs.dir, "remount")
		if took := time.Since(before); took < limit {
			t.Errorf("took %v", took)
		}
	})
	if hung := m.Hung(); hung != 1 {
		t.Fatalf("%d helpers hang, want 1", hung)
	}
	helpers := children(t)
	if len(helpers) != 1 {
		t.Fatalf("%d helper processes, want 1", len(helpers))
	}
	// As long as it hangs there is no second one, and no waiting.
	mount.Timeout = time.Hour
	for range 20 {
		expect(t, m.Probe(t.Context(), mount), api.ReasonMountHung, "no answer since")
	}
	if now := children(t); len(now) != 1 || now[0] != helpers[0] || m.Hung() != 1 {
		t.Errorf("helpers %v after %v, %d hang", now, helpers, m.Hung())
	}
	// Another path is not held up.
	other := tmpfs(t)
	expect(t, m.Probe(t.Context(), api.RequiredMount{Path: other, Type: "tmpfs", Writable: true, Timeout: time.Minute}), "")
	fs.release()
	until(t, "the helper ends", func() bool { return m.Hung() == 0 })
	if left := children(t); len(left) != 0 {
		t.Errorf("helpers %v are left", left)
	}
	expect(t, m.Probe(t.Context(), mount), api.ReasonMountMissing)
}

// children lists the processes that this one started and that still exist.
func children(t *testing.T) []string {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(tasks) == 0 {
		t.Skipf("SKIPPED: this kernel does not list children: %v", err)
	}
	var all []string
	for _, task := range tasks {
		text, _ := os.ReadFile(task) // a thread may have ended
		all = append(all, strings.Fields(string(text))...)
	}
	return all
}

func TestProbesOfOnePathShareAHelper(t *testing.T) {
	fs := mountHangFS(t)
	m := mounts(t, probe.Config{})
	hang(t, fs, m, func(limit time.Duration) {
		states := make(chan api.MountState)
		for range 5 {
			go func() { states <- m.Probe(t.Context(), api.RequiredMount{Path: fs.dir, Timeout: limit}) }()
		}
		for range 5 {
			expect(t, <-states, api.ReasonMountHung)
		}
	})
	if now := children(t); len(now) != 1 || m.Hung() != 1 {
		t.Errorf("helpers %v, %d hang", now, m.Hung())
	}
}

// A helper that is given up, and ends by that, hung for all who waited for it.
func TestGivenUpByAnother(t *testing.T) {
	name := filepath.Join(t.TempDir(), "mountinfo")
	check(t, os.WriteFile(name, []byte(table), 0o600))
	m := mounts(t, probe.Config{MountInfo: name, Helper: []string{"/bin/sleep", "1000"}})
	patient := make(chan api.MountState)
	go func() { patient <- m.Probe(t.Context(), api.RequiredMount{Path: "/mnt/data", Timeout: time.Minute}) }()
	until(t, "the helper runs", func() bool { return len(children(t)) == 1 })
	expect(t, m.Probe(t.Context(), api.RequiredMount{Path: "/mnt/data", Timeout: 100 * time.Millisecond}), api.ReasonMountHung)
	expect(t, <-patient, api.ReasonMountHung, "no answer within")
}

// A caller that goes away does not make a slow mount a hung one.
func TestCancelledProbe(t *testing.T) {
	fs := mountHangFS(t)
	m := mounts(t, probe.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	expect(t, m.Probe(ctx, api.RequiredMount{Path: fs.dir, Timeout: time.Minute}), api.ReasonNotObserved, "canceled")
	if hung := m.Hung(); hung != 0 {
		t.Errorf("%d helpers count as hung", hung)
	}
}

func tmpfs(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: mounting a tmpfs needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=2775,gid=1500"); err != nil {
		t.Skipf("SKIPPED: can't mount a tmpfs here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRealMounts(t *testing.T) {
	gid, other := 1500, 1501
	cases := []struct {
		name   string
		change func(t *testing.T, dir string)
		mount  api.RequiredMount
		reason api.Reason
		words  []string
	}{
		{name: "as wanted", mount: api.RequiredMount{Type: "tmpfs", Writable: true, GID: &gid}},
		{name: "any type", mount: api.RequiredMount{}},
		{name: "other type", mount: api.RequiredMount{Type: "nfs"}, reason: api.ReasonMountMissing, words: []string{"tmpfs", "nfs"}},
		{name: "other group", mount: api.RequiredMount{GID: &other}, reason: api.ReasonMountGroup, words: []string{"1500", "chgrp 1501"}},
		{
			name: "group can't write", change: func(t *testing.T, dir string) { t.Helper(); check(t, os.Chmod(dir, os.ModeSetgid|0o755)) },
			mount: api.RequiredMount{GID: &gid, Writable: true}, reason: api.ReasonMountGroup, words: []string{"chmod g+rwxs"},
		},
		{
			name: "group need not write", change: func(t *testing.T, dir string) { t.Helper(); check(t, os.Chmod(dir, 0o755)) },
			mount: api.RequiredMount{GID: &gid},
		},
		{
			name: "no setgid", change: func(t *testing.T, dir string) { t.Helper(); check(t, os.Chmod(dir, 0o775)) },
			mount: api.RequiredMount{GID: &gid, Writable: true}, reason: api.ReasonMountGroup, words: []string{"chmod g+rwxs"},
		},
		{name: "read-only", change: func(t *testing.T, dir string) {
			t.Helper()
			check(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
		}, mount: api.RequiredMount{Writable: true}, reason: api.ReasonMountReadOnly, words: []string{"read-only"}},
		{name: "read-only is enough", change: func(t *testing.T, dir string) {
			t.Helper()
			check(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
		}},
		{name: "full", change: func(t *testing.T, dir string) {
			t.Helper()
			_ = os.WriteFile(filepath.Join(dir, "junk"), make([]byte, 1<<17), 0o600)
		}, mount: api.RequiredMount{Writable: true}, reason: api.ReasonMountReadOnly, words: []string{"free some space"}},
		{
			name: "unmounted", change: func(t *testing.T, dir string) { t.Helper(); check(t, syscall.Unmount(dir, 0)) },
			mount: api.RequiredMount{Type: "tmpfs"}, reason: api.ReasonMountMissing, words: []string{"mount "},
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := tmpfs(t)
			if c.change != nil {
				c.change(t, dir)
			}
			before := names(t, dir)
			c.mount.Path, c.mount.Timeout = dir, time.Minute
			m := mounts(t, probe.Config{})
			expect(t, m.Probe(t.Context(), c.mount), c.reason, c.words...)
			if after := names(t, dir); len(after) != len(before) {
				t.Errorf("the probe left %v", after)
			}
		})
	}
}

func names(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	return entries
}

const table = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /mnt/data rw,relatime shared:2 master:1 - nfs4 nas:/export rw,vers=4.2
31 22 0:41 / /mnt/old rw - nfs nas:/old rw,vers=3
32 22 0:42 / /mnt/with\040space rw - nfs nas:/s rw
33 22 0:43 / /mnt/auto rw - autofs systemd-1 rw
34 22 0:44 / /mnt/twice rw - nfs nas:/below rw
35 22 0:45 / /mnt/twice rw - tmpfs tmpfs rw
36 22 0:46 / /mnt/sub rw - nfs nas:/x rw
broken line
37 22 0:47 / /mnt/cut rw
`

func TestMountTable(t *testing.T) {
	name := filepath.Join(t.TempDir(), "mountinfo")
	check(t, os.WriteFile(name, []byte(table), 0o600))
	cases := []struct {
		mount  api.RequiredMount
		reason api.Reason
		words  []string
	}{
		{api.RequiredMount{Path: "/mnt/data", Type: "nfs"}, "", nil},
		{api.RequiredMount{Path: "/mnt/data/", Type: "nfs4"}, "", nil},
		{api.RequiredMount{Path: "/mnt/data"}, "", nil},
		{api.RequiredMount{Path: "/mnt/old", Type: "nfs"}, "", nil},
		{api.RequiredMount{Path: "/mnt/old", Type: "nfs4"}, api.ReasonMountMissing, []string{"nfs4"}},
		{api.RequiredMount{Path: "/mnt/with space", Type: "nfs"}, "", nil},
		{api.RequiredMount{Path: "/mnt/auto", Type: "nfs"}, api.ReasonMountMissing, []string{"automounter"}},
		{api.RequiredMount{Path: "/mnt/auto", Type: "autofs"}, "", nil},
		{api.RequiredMount{Path: "/mnt/twice", Type: "nfs"}, api.ReasonMountMissing, []string{"tmpfs"}},
		{api.RequiredMount{Path: "/mnt/sub/folder", Type: "nfs"}, api.ReasonMountMissing, []string{"nothing is mounted"}},
		{api.RequiredMount{Path: "/mnt/dat"}, api.ReasonMountMissing, nil},
		{api.RequiredMount{Path: "/mnt/cut"}, api.ReasonMountMissing, nil},
		{api.RequiredMount{Path: "mnt/data"}, api.ReasonNotObserved, []string{"absolute"}},
	}
	m := mounts(t, probe.Config{MountInfo: name, Helper: []string{"/bin/echo", "{}"}})
	for _, c := range cases {
		t.Run(c.mount.Path+" "+c.mount.Type, func(t *testing.T) {
			c.mount.Timeout = time.Minute
			expect(t, m.Probe(t.Context(), c.mount), c.reason, c.words...)
		})
	}
	m = mounts(t, probe.Config{MountInfo: filepath.Join(t.TempDir(), "absent")})
	expect(t, m.Probe(t.Context(), api.RequiredMount{Path: "/mnt/data"}), api.ReasonNotObserved, "can't tell")
}

// A helper that does not do its work is never taken for a good mount.
func TestBrokenHelpers(t *testing.T) {
	name := filepath.Join(t.TempDir(), "mountinfo")
	check(t, os.WriteFile(name, []byte(table), 0o600))
	for what, command := range map[string][]string{
		"absent":       {"/nonexistent/helper"},
		"silent":       {"/bin/true"},
		"failing":      {"/bin/false"},
		"talks":        {"/bin/echo", "all is well"},
		"never ending": {"/bin/cat", "/dev/zero"},
	} {
		reason, limit := api.ReasonNotObserved, time.Minute
		if what == "never ending" {
			reason, limit = api.ReasonMountHung, 300*time.Millisecond
		}
		t.Run(what, func(t *testing.T) {
			m := mounts(t, probe.Config{MountInfo: name, Helper: command})
			expect(t, m.Probe(t.Context(), api.RequiredMount{Path: "/mnt/data", Timeout: limit}), reason, "/mnt/data")
			until(t, "the helper ends", func() bool { return m.Hung() == 0 && len(children(t)) == 0 })
		})
	}
}

func FuzzMountHelper(f *testing.F) {
	f.Add(`{"path":"/nonexistent","timeout":1000000}`)
	f.Add(`{`)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(strings.ToLower(text), "writable") || strings.Contains(strings.ToLower(text), "gid") {
			t.Skip("would change this process")
		}
		var out strings.Builder
		if code := probe.RunMountHelper(strings.NewReader(text), &out); code == 0 != (out.Len() > 0) {
			t.Errorf("code %d with output %q", code, out.String())
		}
	})
}
