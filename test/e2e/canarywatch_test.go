package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ktrdr.io/fleet/test/canary"
)

// processes are all that were seen on the machine.
type processes struct {
	scanner *canary.Scanner
	control canary.Secret

	mu   sync.Mutex
	last map[int]string
	// hits are secrets in arguments, and in the environment of what is no container's.
	hits map[canary.Hit]bool
	// programs are the names of all that were seen.
	programs map[string]bool
}

// watchProcesses looks at every process of the machine, every few milliseconds, until the
// test ends: helpers live as briefly as that.
func watchProcesses(t *testing.T, scanner *canary.Scanner) *processes {
	t.Helper()
	p := &processes{scanner: scanner, control: canary.Word("control"), last: map[int]string{}, hits: map[canary.Hit]bool{}, programs: map[string]bool{}}
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // ended and awaited by the cleanup
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			p.look(own)
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return p
}

func (p *processes) look(own string) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join("/proc", e.Name())
		argv := tryRead(filepath.Join(dir, "cmdline"))
		if argv == "" || p.last[pid] == argv {
			continue
		}
		p.last[pid] = argv
		program, _, _ := strings.Cut(argv, "\x00")
		program = filepath.Base(program)
		p.programs[program] = true
		p.note("arguments of "+program, argv)
		// The environment of a container's program is where secrets belong.
		if ns, err := os.Readlink(filepath.Join(dir, "ns/pid")); err == nil && ns == own {
			p.note("environment of "+program, tryRead(filepath.Join(dir, "environ")))
		}
	}
}

func (p *processes) note(where, text string) {
	hits := append(p.scanner.Text(where, text), canary.New(p.control).Text(where, text)...)
	for _, hit := range hits {
		p.hits[hit] = true
	}
}

// judge fails the test for each secret, unless the one that is planted now is not found.
func (p *processes) judge(t *testing.T, project string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "300")
	cmd.Args[0] = "planted " + p.control.Value
	cmd.Env = append(os.Environ(), "PLANTED="+p.control.Value)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	eventually(t, "what was planted is found in arguments and environment", time.Minute, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		found := map[string]bool{}
		for hit := range p.hits {
			kind, _, _ := strings.Cut(hit.Where, " ")
			found[kind] = found[kind] || hit.Secret == p.control.Name
		}
		return found["arguments"] && found["environment"]
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	for hit := range p.hits {
		if hit.Secret != p.control.Name {
			t.Error(hit)
		}
	}
	for _, program := range []string{"ktrdr-agent", "git", "exec", "runc", "sh"} {
		if !p.programs[program] {
			t.Errorf("%s was never seen: %s", program, fmt.Sprint(p.programs))
		}
	}
}
