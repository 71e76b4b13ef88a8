package telemetry

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Facts are what the agent found beside the engine.
type Facts struct {
	Registrations []Registration
	Registrars    []Registrar
	Backups       []Backup
}

// Registration says whether a container is known where its service registers.
type Registration struct {
	Stack, Service, Container string
	Registered                bool
}

// Registrar is an address where services register; Up says that its last answer could be used.
type Registrar struct {
	URL string
	Up  bool
}

// Backup is the last look at a backup; Time has no sample while it is zero.
type Backup struct {
	Name string
	OK   bool
	Size int64
	Time time.Time
}

// maxFacts bounds each kind of them; what is beyond has no sample.
const maxFacts = 200

type factMetrics struct {
	ask                                              func() Facts
	registered, registrarUp, backupOK, last, newSize *prometheus.Desc
}

// WatchFacts registers the metrics of facts. ask is called at each scrape, and must not wait
// for anything. Call it once.
func (m *Metrics) WatchFacts(ask func() Facts) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	m.registry.MustRegister(&factMetrics{
		ask: ask,
		registered: desc("ktrdr_service_registered",
			"1 while a container is known where its service registers, else 0; absent before the first look.", "stack", "service", "container"),
		registrarUp: desc("ktrdr_registrar_up", "1 while the last answer of an address where services register could be used, else 0.", "url"),
		backupOK:    desc("ktrdr_backup_ok", "1 while the newest backup is large and young enough, else 0.", "backup"),
		last: desc("ktrdr_backup_last_timestamp_seconds",
			"When the newest backup that is large enough was written; absent while there is none.", "backup"),
		newSize: desc("ktrdr_backup_size_bytes", "Size of the newest backup that is large enough; absent while there is none.", "backup"),
	})
}

// Describe implements prometheus.Collector.
func (f *factMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{f.registered, f.registrarUp, f.backupOK, f.last, f.newSize} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (f *factMetrics) Collect(out chan<- prometheus.Metric) {
	found := f.ask()
	sent := map[string]bool{}
	send := func(d *prometheus.Desc, value float64, labels ...string) {
		key := d.String() + strings.Join(labels, "\x00")
		if sent[key] {
			return // label values that were cut may be the same
		}
		sent[key] = true
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for _, r := range found.Registrations[:min(len(found.Registrations), maxFacts)] {
		send(f.registered, oneIf(r.Registered), clean(r.Stack), clean(r.Service), clean(r.Container))
	}
	for _, r := range found.Registrars[:min(len(found.Registrars), maxFacts)] {
		send(f.registrarUp, oneIf(r.Up), clean(r.URL))
	}
	for _, b := range found.Backups[:min(len(found.Backups), maxFacts)] {
		send(f.backupOK, oneIf(b.OK), clean(b.Name))
		if !b.Time.IsZero() {
			send(f.last, float64(b.Time.Unix()), clean(b.Name))
			send(f.newSize, float64(b.Size), clean(b.Name))
		}
	}
}

func oneIf(is bool) float64 { //nolint:revive // a number for a metric
	if is {
		return 1
	}
	return 0
}
