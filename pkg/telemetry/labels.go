package telemetry

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// other stands for label values beyond the limit.
const other = "other"

// maxLabel is the length of a label value in bytes; the rest is cut off.
const maxLabel = 200

// labels bounds how many values a label takes, because each one is a time series for as
// long as the process runs. Values can be given back.
type labels struct {
	mu    sync.Mutex
	limit int
	known map[string]bool
}

func newLabels(limit int) *labels { return &labels{limit: limit, known: map[string]bool{}} }

// of returns the label value for a text.
func (l *labels) of(text string) string {
	text = clean(text)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.known[text] {
		if len(l.known) >= l.limit {
			return other
		}
		l.known[text] = true
	}
	return text
}

// forget gives a value's place to another one.
func (l *labels) forget(text string) string {
	text = clean(text)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.known, text)
	return text
}

// clean makes text acceptable as a label value: the client panics at invalid UTF-8.
func clean(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxLabel)], "")
}

// age is a gauge of the time since a moment, computed at each scrape.
type age struct {
	desc *prometheus.Desc

	mu    sync.Mutex
	shown bool
	since time.Time
}

func newAge(name, help string) *age {
	return &age{desc: prometheus.NewDesc(name, help, nil, nil), since: time.Now()}
}

// show lets the gauge appear.
func (a *age) show() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.shown = true
}

// set moves the moment.
func (a *age) set(t time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since = t
}

// Describe implements prometheus.Collector.
func (a *age) Describe(out chan<- *prometheus.Desc) { out <- a.desc }

// Collect implements prometheus.Collector.
func (a *age) Collect(out chan<- prometheus.Metric) {
	a.mu.Lock()
	shown, since := a.shown, a.since
	a.mu.Unlock()
	if shown {
		out <- prometheus.MustNewConstMetric(a.desc, prometheus.GaugeValue, max(0, time.Since(since).Seconds()))
	}
}
