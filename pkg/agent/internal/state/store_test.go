package state_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/internal/state"
	"ktrdr.io/fleet/pkg/api"
)

func open(t testing.TB, dir string) *state.Store {
	t.Helper()
	s, err := state.Open(state.Config{Dir: dir}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func ok(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// content is everything that a store answers.
type content struct {
	Adoptions map[string]state.Adoption
	Jobs      map[string]string
	Holds     map[string]api.Hold
	Hooks     map[string]bool
	Runs      map[string]time.Time
	NodeKey   []byte
	LastGood  *api.Desired
}

func read(t testing.TB, s *state.Store) content {
	t.Helper()
	key, err := s.NodeKey()
	ok(t, err)
	good, err := s.LastGood()
	if err != nil && !errors.Is(err, state.ErrNone) {
		t.Fatal(err)
	}
	return content{s.Adoptions(), s.Jobs(), s.Holds(), s.HooksPending(), s.Runs(), key, good}
}

func fill(t testing.TB, s *state.Store) {
	t.Helper()
	at := time.Date(2026, 11, 23, 12, 0, 0, 5, time.FixedZone("x", 3600))
	for i := range 40 {
		ok(t, s.SetAdoption(fmt.Sprint("container-", i), state.Adoption{SpecHash: fmt.Sprint("v1:", i), SecretDigest: "v1:ab", At: at}))
	}
	ok(t,
		s.SetJob("p/migrate/p-migrate-1", "v1:1"), s.SetJob("p/migrate/p-migrate-1", "v1:2"),
		s.SetHold("core", &api.Hold{Until: at, Why: "maintenance", Who: "ann", Since: time.Now()}),
		s.SetHold("gone", &api.Hold{}), s.SetHold("gone", nil), s.SetHold("never", nil),
		s.MarkHooksPending("c1"), s.MarkHooksPending("c2"), s.ClearHooksPending("c2"), s.ClearHooksPending("c3"),
		s.SetRuns(map[string]time.Time{"c1": at, "c2": at}), s.SetRuns(map[string]time.Time{"c1": at.Add(time.Hour), "c3": at}),
		s.SetLastGood(&api.Desired{Revision: "r1", Node: "b", Root: "/var/lib/x", Stacks: []api.Stack{{Name: "core"}}}),
		s.DropAdoptions(func(id string) bool { return id != "container-7" }),
		s.DropJobs(func(key string) bool { return strings.HasPrefix(key, "p/") }),
	)
}

func TestEverythingIsThereAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "state")
	s := open(t, dir)
	fill(t, s)
	want := read(t, s)
	if len(want.Adoptions) != 39 || want.Jobs["p/migrate/p-migrate-1"] != "v1:2" || len(want.Holds) != 1 ||
		len(want.Hooks) != 1 || len(want.Runs) != 2 || want.Runs["c1"].Sub(want.Runs["c3"]) != time.Hour || len(want.NodeKey) != 32 || want.LastGood.Root != "/var/lib/x" {
		t.Fatalf("memory has %+v", want)
	}
	ok(t, s.Close(), s.Close())
	if err := s.SetJob("late", "x"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a write after Close gave %v", err)
	}
	again := open(t, dir)
	if diff := cmp.Diff(want, read(t, again)); diff != "" {
		t.Errorf("after a restart (-before +after):\n%s", diff)
	}
	if told := again.Healed(); told != "" {
		t.Errorf("healed: %s", told)
	}
	info, err := os.Stat(dir)
	ok(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("folder has mode %v", info.Mode())
	}
	entries, err := os.ReadDir(dir)
	ok(t, err)
	for _, entry := range entries {
		if info, err := entry.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", entry.Name(), info.Mode(), err)
		}
	}
}

func TestReadersGetCopies(t *testing.T) {
	s := open(t, t.TempDir())
	fill(t, s)
	want := read(t, s)
	got := read(t, s)
	clear(got.Adoptions)
	clear(got.Jobs)
	clear(got.Holds)
	clear(got.Hooks)
	clear(got.NodeKey)
	got.LastGood.Stacks[0].Name = "x"
	if diff := cmp.Diff(want, read(t, s)); diff != "" {
		t.Errorf("readers share memory:\n%s", diff)
	}
}

func TestSecondAgentIsRefused(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holderFolder+"="+dir)
	out, err := cmd.StdoutPipe()
	ok(t, err, cmd.Start())
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "open: <nil>\n" {
		t.Fatalf("the other agent said %q, %v", line, err)
	}
	const limit = 2500 * time.Millisecond // longer than the default
	before := time.Now()
	_, err = state.Open(state.Config{Dir: dir, OpenTimeout: limit}, slog.New(slog.DiscardHandler))
	if !errors.Is(err, state.ErrLocked) || !strings.Contains(err.Error(), strconv.Itoa(cmd.Process.Pid)) {
		t.Errorf("error %v, want ErrLocked with process %d", err, cmd.Process.Pid)
	}
	if took := time.Since(before); took < limit {
		t.Errorf("took %v", took)
	}
	ok(t, cmd.Process.Kill())
	s, err := state.Open(state.Config{Dir: dir, OpenTimeout: time.Minute}, slog.New(slog.DiscardHandler)) // waits for the end of the other one
	ok(t, err, s.Close())
}

// A killed agent loses nothing that it was told to be durable, and at most the write
// under way is there beyond that.
func TestKilledBetweenWrites(t *testing.T) {
	dir := t.TempDir()
	rounds := 15
	if testing.Short() {
		rounds = 4
	}
	last := 0
	for round := range rounds {
		last = writeAndKill(t, dir, time.Duration(10+round*7)*time.Millisecond)
		s := open(t, dir)
		if told := s.Healed(); told != "" {
			t.Fatalf("round %d: healed: %s", round, told)
		}
		counter, err := strconv.Atoi(s.Jobs()["counter"])
		if err != nil && last > 0 || counter != last && counter != last+1 {
			t.Fatalf("round %d: the writer said %d, the state has %d (%v)", round, last, counter, err)
		}
		if good, err := s.LastGood(); err == nil {
			n, err := strconv.Atoi(good.Revision)
			if err != nil || n != counter && n != counter+1 || good.Node != bulk(n-1) {
				t.Fatalf("round %d: last good is %s with counter %d", round, good.Revision, counter)
			}
		}
		ok(t, s.Close())
	}
	if last == 0 {
		t.Fatal("nothing was ever written")
	}
}

// writeAndKill runs the writer for a while after its first word and returns the last one.
func writeAndKill(t *testing.T, dir string, run time.Duration) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), writerFolder+"="+dir)
	out, err := cmd.StdoutPipe()
	ok(t, err, cmd.Start())
	lines, last := bufio.NewScanner(out), -1
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatalf("the writer said %q", lines.Text())
		}
		if last < 0 {
			time.AfterFunc(run, func() { _ = cmd.Process.Kill() })
		}
		last = n
	}
	_ = cmd.Wait()
	return last
}

func TestDiskFull(t *testing.T) {
	dir := tmpfs(t, "2m")
	s := open(t, dir)
	fill(t, s)
	junk := filepath.Join(dir, "junk")
	exhaust(t, junk)
	big := strings.Repeat("x", 300_000)
	err := s.SetLastGood(&api.Desired{Revision: "big", Node: big})
	var classed *state.Error
	if !errors.Is(err, state.ErrDiskFull) || !errors.As(err, &classed) || classed.Reason != api.ReasonDiskFull || classed.Class != api.Waiting {
		t.Fatalf("a full disk gave %v", err)
	}
	for i := range 50 { // nothing may pile up while it lasts
		if err := s.SetJob(fmt.Sprint("job-", i), "v1:x"); !errors.Is(err, state.ErrDiskFull) {
			t.Fatalf("write %d on a full disk gave %v", i, err)
		}
	}
	want := read(t, s)
	if want.LastGood.Revision != "big" || want.Jobs["job-49"] != "v1:x" {
		t.Error("memory did not change")
	}
	// An agent that starts on a full disk has what was durable.
	ok(t, s.Close())
	s = open(t, dir)
	if got := read(t, s); got.LastGood.Revision != "r1" || len(got.Adoptions) != 39 || s.Healed() != "" {
		t.Errorf("after a restart: %s, %d adoptions, healed %q", got.LastGood.Revision, len(got.Adoptions), s.Healed())
	}
	if err := s.SetHold("full", &api.Hold{Why: "x"}); !errors.Is(err, state.ErrDiskFull) {
		t.Errorf("write after a restart on a full disk gave %v", err)
	}
	ok(t, os.Remove(junk), s.SetJob("free", "v1:again"))
	want = read(t, s)
	ok(t, s.Close())
	if diff := cmp.Diff(want, read(t, open(t, dir))); diff != "" || want.Holds["full"].Why != "x" {
		t.Errorf("the write after the disk was freed did not bring all with it:\n%s", diff)
	}
}

func tmpfs(t *testing.T, size string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: mounting a small tmpfs needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("SKIPPED: can't mount a tmpfs here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func exhaust(t *testing.T, name string) {
	t.Helper()
	file, err := os.Create(name)
	ok(t, err)
	defer file.Close()
	for _, size := range []int{1 << 16, 1 << 12, 1} {
		for err = nil; err == nil; {
			_, err = file.Write(bytes.Repeat([]byte{1}, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

func TestFileRemovedUnderARunningAgent(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	ok(t, os.Remove(filepath.Join(dir, "state.db")), s.SetJob("after", "v1:x"))
	want := read(t, s)
	ok(t, s.Close())
	if diff := cmp.Diff(want, read(t, open(t, dir))); diff != "" {
		t.Errorf("lost:\n%s", diff)
	}
}

// A truncated file under a memory map is a fault (SIGBUS) at the next access.
func TestFileTruncatedUnderARunningAgent(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	ok(t, os.Truncate(filepath.Join(dir, "state.db"), 4096), s.SetJob("after", "v1:x"), s.SetJob("later", "v1:y"))
	want := read(t, s)
	ok(t, s.Close())
	again := open(t, dir)
	if diff := cmp.Diff(want, read(t, again)); diff != "" || again.Healed() != "" {
		t.Errorf("lost (%s):\n%s", again.Healed(), diff)
	}
}

func TestConcurrentUse(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 10 {
				id := fmt.Sprint(i, "-", j)
				if err := errors.Join(s.SetAdoption(id, state.Adoption{SpecHash: id}), s.MarkHooksPending(id), s.ClearHooksPending(id)); err != nil {
					t.Error(err)
				}
				_, _, _ = s.Adoptions(), s.HooksPending(), s.Jobs()
			}
		})
	}
	wg.Wait()
	ok(t, s.Close())
	if got := open(t, dir).Adoptions(); len(got) != 40 {
		t.Errorf("%d adoptions, want 40", len(got))
	}
}
