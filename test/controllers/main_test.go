package controllers_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"ktrdr.io/fleet/test/leaks"
)

const (
	// asMember makes the test program be a member of etcd.
	asMember = "KTRDR_TEST_ETCD"
	module   = "../.."
	patience = 90 * time.Second
)

// program is the controller and ctl is ktrdrctl, built by TestMain.
var program, ctl string //nolint:gochecknoglobals // set before any test runs

func TestMain(m *testing.M) {
	if os.Getenv(asMember) != "" {
		os.Exit(member(os.Args[1:]))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if _, err := exec.LookPath("git"); err != nil {
		fmt.Println("SKIPPED: there is no git program")
		return 0
	}
	dir, err := os.MkdirTemp("", "ktrdr-controllers-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program, ctl = filepath.Join(dir, "ktrdr-controller"), filepath.Join(dir, "ktrdrctl")
	for of, to := range map[string]string{"./cmd/controller": program, "./cmd/ctl": ctl} {
		build := exec.Command("go", "build", "-o", to, of)
		build.Dir, build.Env = module, append(os.Environ(), "CGO_ENABLED=0") // names by Go's resolver
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Printf("build %s: %v\n%s", of, err, out)
			return 1
		}
	}
	code := m.Run()
	if code == 0 {
		if err := leaks.Find(); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	return code
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// await waits for what has to become true.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) { //nolint:forbidigo // between two looks
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// process is a program that is killed and started again.
type process struct {
	t    testing.TB
	make func() *exec.Cmd
	cmd  *exec.Cmd
	log  log
	// attr are attributes of the process; nil for none.
	attr *syscall.SysProcAttr
}

// log keeps what a program says.
type log struct {
	mu   sync.Mutex
	text []byte
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	return len(p), nil
}

func (l *log) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

func (l *log) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text[max(0, len(l.text)-12000):])
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = p.make()
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{}
	if p.attr != nil {
		p.cmd.SysProcAttr = p.attr
	}
	p.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	must(p.t, p.cmd.Start())
}

// kill ends it as a power failure does.
func (p *process) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// hang makes it answer nothing, with its connections open, until wake.
func (p *process) hang() { p.t.Helper(); must(p.t, p.cmd.Process.Signal(syscall.SIGSTOP)) }

func (p *process) wake() { p.t.Helper(); must(p.t, p.cmd.Process.Signal(syscall.SIGCONT)) }

// stop ends it gracefully.
func (p *process) stop() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%s ends with %v", p.cmd.Path, err)
	}
	p.cmd = nil
}
