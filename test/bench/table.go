package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// row is one line of the table.
type row struct {
	measure string
	// floor and ours are medians, result puts them together, target is the most that it may be.
	floor, ours, result, target string
	met                         bool
	compose                     string
}

// table prints all rows.
func table(w io.Writer, rows []row) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "measure\tfloor\tours\tresult\ttarget\tmet\tcompose")
	for _, r := range rows {
		met := "yes"
		if !r.met {
			met = "NO"
		}
		if r.target == "" {
			r.target, met = "-", "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.measure, dash(r.floor), r.ours, r.result, r.target, met, dash(r.compose))
	}
	_ = t.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// span prints a time with three digits that matter.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + span(-d)
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", float64(d)/1e6)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// atMost is a row whose result is the ratio of two contenders.
func (s series) atMost(limit float64, ours, floor, measure string) row {
	ratio := s.ratio(ours, floor)
	return row{
		measure: measure, floor: span(median(s[floor])), ours: span(median(s[ours])),
		result: fmt.Sprintf("%.2f x", ratio), target: fmt.Sprintf("<= %.2f x", limit), met: ratio <= limit,
	}
}

// within is a row whose result is the difference of two contenders.
func (s series) within(limit time.Duration, ours, floor, measure string) row {
	more := s.difference(ours, floor)
	return row{
		measure: measure, floor: span(median(s[floor])), ours: span(median(s[ours])),
		result: fmt.Sprintf("%+.1f ms", float64(more)/1e6), target: "<= +" + span(limit), met: more <= limit,
	}
}

// besideCompose is a row whose result is the ratio to docker compose; nothing when that
// was not measured.
func (s series) besideCompose(limit float64, measure string) []row {
	if len(s[byCompose]) == 0 {
		return nil
	}
	r := s.atMost(limit, ours, byCompose, measure)
	r.compose, r.floor = r.floor, ""
	return []row{r}
}

// Names of contenders that several measures have.
const (
	ours      = "agent"
	raw       = "raw"
	byCompose = "compose"
)
