package logmerge_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/ctl/internal/logmerge"
)

func at(seconds int) time.Time { return time.Unix(int64(1_700_000_000+seconds), 0) }

func line(node string, seconds int, text string) logmerge.Line {
	return logmerge.Line{Node: node, Container: "c", Time: at(seconds), Text: text}
}

func texts(lines []logmerge.Line) []string {
	out := []string{}
	for _, l := range lines {
		out = append(out, l.Text)
	}
	return out
}

func TestEarlierLinesOfSlowerNodesGoFirst(t *testing.T) {
	m := &logmerge.Merger{Window: time.Second, Limit: 1 << 20}
	m.Add(at(100), line("a", 3, "a3"))
	m.Add(at(100), line("b", 2, "b2"))
	if got := m.Ready(at(100)); got != nil {
		t.Errorf("at once: %v", got)
	}
	m.Add(at(100), line("a", 4, "a4"))
	m.Add(at(101), line("b", 9, "b9"))
	if diff := cmp.Diff([]string{"b2", "a3", "a4"}, texts(m.Ready(at(101)))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"b9"}, texts(m.Ready(at(102)))); diff != "" {
		t.Error(diff)
	}
}

func TestTheLimitBoundsWhatIsHeld(t *testing.T) {
	m := &logmerge.Merger{Limit: 1000}
	for i := range 10 {
		m.Add(at(0), line("a", i, fmt.Sprint(i)))
	}
	if got := len(m.Ready(at(0))); got < 5 || got > 6 {
		t.Errorf("%d lines went", got)
	}
	if got := len(m.Ready(at(1000))); got != 0 {
		t.Errorf("without a window %d lines went", got)
	}
	if got := len(m.Drain()); got < 4 {
		t.Errorf("%d lines were left", got)
	}
}

func TestSinceWhen(t *testing.T) {
	m := &logmerge.Merger{Limit: 1 << 20}
	if !m.Oldest().IsZero() || !m.Newest("a").IsZero() {
		t.Error("there was no line")
	}
	m.Add(at(0), line("a", 5, ""))
	m.Add(at(0), line("b", 3, ""))
	m.Add(at(0), line("b", 4, ""))
	if !m.Oldest().Equal(at(4)) || !m.Newest("a").Equal(at(5)) {
		t.Errorf("%v %v", m.Oldest(), m.Newest("a"))
	}
}

// TestNoLineIsLostOrShownTwice lets nodes end and begin again at any place, sending what
// was there from any earlier time on.
func TestNoLineIsLostOrShownTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &logmerge.Merger{Limit: 1 << 20}
		want := []string{}
		second := 0
		var sent []logmerge.Line
		for i := range rapid.IntRange(0, 40).Draw(t, "lines") {
			second += rapid.IntRange(0, 1).Draw(t, "later") // lines of one time
			l := line("a", second, fmt.Sprint(i))
			l.Stderr = rapid.Bool().Draw(t, "stderr")
			sent = append(sent, l)
			want = append(want, l.Text)
			m.Add(at(0), l)
			if rapid.IntRange(0, 5).Draw(t, "break") == 0 {
				m.Resume(rapid.SampledFrom([]string{"", "a"}).Draw(t, "node"))
				from := at(rapid.IntRange(0, second).Draw(t, "since"))
				for _, again := range sent {
					if !again.Time.Before(from) {
						m.Add(at(0), again)
					}
				}
			}
		}
		got := texts(m.Drain())
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestAClockThatGoesBackLosesNothing: only after a break is what looks old dropped.
func TestAClockThatGoesBackLosesNothing(t *testing.T) {
	m := &logmerge.Merger{Limit: 1 << 20}
	m.Add(at(0), line("a", 9, "before"))
	m.Add(at(0), line("a", 3, "after"))
	if got := len(m.Drain()); got != 2 {
		t.Errorf("%d lines", got)
	}
}
