package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/controller/store"
)

// crashDirVariable makes this test binary the process that is killed while it writes.
const crashDirVariable = "STORE_TEST_CRASH_DIR"

// crashWriter creates nodes and advances the head for ever, and prints a line for each
// write when it was acknowledged, never before.
func crashWriter(dir string) {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Embedded: &store.Embedded{Dir: dir}})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("open")
	head, _ := s.Head(ctx)
	for i := head.Generation; ; i++ {
		name := fmt.Sprintf("n%d", i)
		err := s.Nodes().Create(ctx, store.Node{Name: name, CertSerial: strings.Repeat("5", 500)})
		if err == nil || errors.Is(err, store.ErrExists) { // the one before died between the two writes
			fmt.Println("node", name)
			head, err = s.AdvanceHead(ctx, head.Revision, store.Head{Revision: name})
		}
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println("head", name, head.Generation)
	}
}

// TestKillLosesNothing kills a writing process at random moments: what it was told is
// written is there afterwards.
func TestKillLosesNothing(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	var head string
	for round := range 6 {
		killed := killWriter(t, dir, time.Duration(rand.IntN(250))*time.Millisecond)
		for _, line := range killed {
			switch words := strings.Fields(line); words[0] {
			case "node":
				acknowledged[words[1]] = true
			case "head":
				head = words[1]
			case "error":
				t.Fatalf("round %d: %s", round, line)
			}
		}
		checkSurvived(t, dir, acknowledged, head)
	}
	if len(acknowledged) < 6 {
		t.Fatalf("only %d writes were acknowledged in all rounds", len(acknowledged))
	}
	t.Logf("%d nodes acknowledged and found", len(acknowledged))
}

func killWriter(t *testing.T, dir string, after time.Duration) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), crashDirVariable+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
		if len(lines) == 3 { // it is open, and has written a node and a head: each round gets on
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
	}
	_ = cmd.Wait()
	if len(lines) < 3 {
		t.Fatalf("the writer said only %q", lines)
	}
	return lines
}

func checkSurvived(t *testing.T, dir string, acknowledged map[string]bool, head string) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Embedded: &store.Embedded{Dir: dir}})
	if err != nil {
		t.Fatalf("open after the kill: %v", err)
	}
	defer s.Close()
	nodes, err := s.Nodes().List(t.Context())
	if err != nil {
		t.Fatalf("list after the kill: %v", err)
	}
	there := map[string]bool{}
	for _, node := range nodes {
		there[node.Name] = true
	}
	for name := range acknowledged {
		if !there[name] {
			t.Errorf("node %s was acknowledged and is lost", name)
		}
	}
	now, err := s.Head(t.Context())
	if err != nil {
		t.Fatalf("head after the kill: %v", err)
	}
	// The next one may be written although its acknowledgement did not come through.
	var at, want int
	_, _ = fmt.Sscanf(now.Revision, "n%d", &at)
	_, _ = fmt.Sscanf(head, "n%d", &want)
	if at < want || at > want+1 {
		t.Errorf("head is %s, %s was acknowledged", now.Revision, head)
	}
}
