package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// contender is one of those that take turns.
type contender struct {
	name string
	run  func(ctx context.Context) (time.Duration, error)
	// rounds is how many rounds it takes part in; 0 is all.
	rounds int
}

// series are the results of each contender, by name and round.
type series map[string][]time.Duration

// turns lets all contenders run once a round, there and back, so that a load that drifts
// meets all of them alike.
func (b *bench) turns(ctx context.Context, title string, list ...contender) (series, error) {
	results := series{}
	for round := range b.rounds {
		for i := range list {
			c := list[i]
			if round%2 == 1 {
				c = list[len(list)-1-i]
			}
			if c.rounds > 0 && round >= c.rounds {
				continue
			}
			took, err := c.run(ctx)
			if err != nil {
				return results, fmt.Errorf("%s, round %d: %w", c.name, round+1, err)
			}
			results[c.name] = append(results[c.name], took)
			b.say("%s, round %d: %s %s", title, round+1, c.name, took.Round(100*time.Microsecond))
		}
	}
	return results, nil
}

func median[T time.Duration | float64](list []T) T {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}

// ratio is the median over the rounds of a to b of the same round.
func (s series) ratio(a, b string) float64 {
	var ratios []float64
	for i := range min(len(s[a]), len(s[b])) {
		ratios = append(ratios, float64(s[a][i])/float64(s[b][i]))
	}
	return median(ratios)
}

// difference is the median over the rounds of a less b of the same round.
func (s series) difference(a, b string) time.Duration {
	var list []time.Duration
	for i := range min(len(s[a]), len(s[b])) {
		list = append(list, s[a][i]-s[b][i])
	}
	return median(list)
}

// quickest is the contender with the smallest median among those named.
func (s series) quickest(names []string) string {
	return slices.MinFunc(names, func(a, b string) int { return int(median(s[a]) - median(s[b])) })
}
