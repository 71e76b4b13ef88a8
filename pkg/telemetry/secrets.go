package telemetry

import "github.com/prometheus/client_golang/prometheus"

// references asks for the newest counts at each scrape.
type references struct {
	ask   func() map[string]int
	count *prometheus.Desc
}

// WatchSecrets registers the number of secret references by phase. ask is called at each
// scrape, and must not wait for anything. Call it once.
func (m *Metrics) WatchSecrets(ask func() map[string]int) {
	m.registry.MustRegister(&references{ask: ask, count: prometheus.NewDesc(
		"ktrdr_secrets", "Secret references of the desired state, by phase: ok, stale, missing, denied.", []string{"phase"}, nil)})
}

// Describe implements prometheus.Collector.
func (r *references) Describe(out chan<- *prometheus.Desc) { out <- r.count }

// Collect implements prometheus.Collector.
func (r *references) Collect(out chan<- prometheus.Metric) {
	for phase, n := range r.ask() {
		out <- prometheus.MustNewConstMetric(r.count, prometheus.GaugeValue, float64(n), clean(phase))
	}
}
