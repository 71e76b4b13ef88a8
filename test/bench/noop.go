package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// benchLine is a result of BenchmarkNoOpRound.
var benchLine = regexp.MustCompile(`BenchmarkNoOpRound/containers=(\d+)/stacks=(\d+)\S*\s+\d+\s+(\d+) ns/op\s+(\S+) calls/op`)

// noOpRound runs the benchmark of the loop on the simulated engine.
func noOpRound(ctx context.Context, b *bench) ([]row, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "./pkg/agent/sim", "-run", "^$", "-bench", "^BenchmarkNoOpRound$", "-count", strconv.Itoa(b.rounds))
	said, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, said)
	}
	b.say("%s", said)
	return noOpRows(string(said))
}

func noOpRows(said string) ([]row, error) {
	limits := map[string]time.Duration{"50": 2 * time.Millisecond, "500": 10 * time.Millisecond}
	s := series{}
	var names []string
	var calls float64
	for _, found := range benchLine.FindAllStringSubmatch(said, -1) {
		nanoseconds, err := strconv.ParseInt(found[3], 10, 64)
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseFloat(found[4], 64)
		if err != nil {
			return nil, err
		}
		calls += n
		name := found[1] + " containers, stacks: " + found[2]
		if s[name] == nil {
			names = append(names, name)
			limits[name] = limits[found[1]]
		}
		s[name] = append(s[name], time.Duration(nanoseconds))
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no result in\n%s", said)
	}
	var rows []row
	for _, name := range names {
		took := median(s[name])
		rows = append(rows, row{
			measure: "no-op round, " + name, ours: span(took), result: fmt.Sprintf("%s, %g calls", span(took), calls),
			target: "<= " + span(limits[name]) + ", 0 calls", met: took <= limits[name] && calls == 0,
		})
	}
	return rows, nil
}
