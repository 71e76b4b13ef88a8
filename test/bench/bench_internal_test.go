package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ms = time.Millisecond

// TestRatiosArePaired: each round is compared with itself, so that a load that comes and
// goes does not move the result.
func TestRatiosArePaired(t *testing.T) {
	s := series{
		ours: {11 * ms, 110 * ms, 1100 * ms, 22 * ms},
		raw:  {10 * ms, 100 * ms, 1000 * ms, 10 * ms},
		"x":  {5 * ms},
	}
	if got := s.ratio(ours, raw); got < 1.099 || got > 1.101 {
		t.Errorf("ratio %v, want 1.1", got)
	}
	if got := s.difference(ours, raw); got != 11*ms {
		t.Errorf("difference %v, want 11 ms", got)
	}
	if got := s.quickest([]string{ours, raw, "x"}); got != "x" {
		t.Errorf("quickest is %s, want x", got)
	}
	if got := median([]time.Duration{4, 1, 3, 2}); got != 2 {
		t.Errorf("median of four is %d, want 2", got)
	}
}

func TestTurnsGoThereAndBack(t *testing.T) {
	var order strings.Builder
	one := func(name string, rounds int) contender {
		return contender{name: name, rounds: rounds, run: func(context.Context) (time.Duration, error) {
			order.WriteString(name)
			return ms, nil
		}}
	}
	b := &bench{options: options{rounds: 3}, log: &bytes.Buffer{}}
	s, err := b.turns(t.Context(), "test", one("a", 0), one("b", 0), one("c", 1))
	if err != nil {
		t.Fatal(err)
	}
	if got := order.String(); got != "abc"+"ba"+"ab" {
		t.Errorf("order %s", got)
	}
	if len(s["a"]) != 3 || len(s["c"]) != 1 {
		t.Errorf("results %v", s)
	}
}

func TestNoOpRows(t *testing.T) {
	const said = `cpu: some
BenchmarkNoOpRound/containers=50/stacks=1-2   	     500	    332800 ns/op	         0 calls/op	   82174 B/op
BenchmarkNoOpRound/containers=50/stacks=1-2   	     500	    300000 ns/op	         0 calls/op	   82174 B/op
BenchmarkNoOpRound/containers=500/stacks=10-2 	     500	  12000000 ns/op	         0 calls/op	   82174 B/op
PASS
`
	rows, err := noOpRows(said)
	if err != nil {
		t.Fatal(err)
	}
	var got [][2]any
	for _, r := range rows {
		got = append(got, [2]any{r.result, r.met})
	}
	if diff := cmp.Diff([][2]any{{"0.32 ms, 0 calls", true}, {"12 ms, 0 calls", false}}, got); diff != "" {
		t.Error(diff)
	}
	rows, err = noOpRows(strings.ReplaceAll(said, "0 calls/op", "1 calls/op"))
	if err != nil || rows[0].met {
		t.Errorf("a round with calls meets its target: %+v, %v", rows[0], err)
	}
	if _, err := noOpRows("PASS"); err == nil {
		t.Error("a benchmark without a result is no error")
	}
}

// TestSweepsOnlyItsOwn: what is removed carries one of our marks.
func TestSweepsOnlyItsOwn(t *testing.T) {
	for _, c := range []struct {
		name   string
		labels map[string]string
		want   bool
	}{
		{"/web", nil, false},
		{"/bench", map[string]string{"com.docker.compose.project": "bench", "io.ktrdr.node": "b"}, false},
		{"bridge", nil, false},
		{"/ktrdr-bench-cold-s01-1", nil, true},
		{"/x", map[string]string{benchLabel: "ktrdr-bench-cold"}, true},
		{"/x", map[string]string{"io.ktrdr.node": nodeName}, true},
		{"/x", map[string]string{"com.docker.compose.project": "ktrdr-bench-cold"}, true},
	} {
		if got := isOurs(c.name, c.labels); got != c.want {
			t.Errorf("isOurs(%s, %v) = %t", c.name, c.labels, got)
		}
	}
}

func TestReadsItself(t *testing.T) {
	pid := os.Getpid()
	used, err := cpuTime(pid)
	for began := time.Now(); used == 0 && err == nil && time.Since(began) < 10*time.Second; {
		used, err = cpuTime(pid)
	}
	if err != nil || used <= 0 || used > time.Hour {
		t.Errorf("CPU time %v, %v", used, err)
	}
	kb, err := kilobytes(pid, "status", "VmRSS:")
	if err != nil || kb["VmRSS:"] < 1000 || kb["VmRSS:"] > 10_000_000 {
		t.Errorf("memory %v, %v", kb["VmRSS:"], err)
	}
	if _, err := kilobytes(pid, "status", "NoSuchField:"); err == nil {
		t.Error("a field that is missing is no error")
	}
}

func TestTableNamesWhatIsMissed(t *testing.T) {
	s := series{ours: {130 * ms}, raw: {100 * ms}}
	var out bytes.Buffer
	table(&out, []row{s.atMost(1.15, ours, raw, "slow"), s.within(60*ms, ours, raw, "quick")})
	lines := strings.Split(out.String(), "\n")
	for i, want := range []string{"measure floor ours result target met compose", "slow 100 ms 130 ms 1.30 x <= 1.15 x NO -", "quick 100 ms 130 ms +30.0 ms <= +60 ms yes -"} {
		if got := strings.Join(strings.Fields(lines[i]), " "); got != want {
			t.Errorf("line %d: %s\nwant    %s", i, got, want)
		}
	}
}
