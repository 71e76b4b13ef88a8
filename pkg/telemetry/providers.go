package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Provider is what the metrics say about one provider of secrets.
type Provider struct {
	Name string
	// Asked is false before the first attempt: nobody knows then whether it is up.
	Asked, Up bool
	// LastSuccess and TokenExpires have no sample while they are zero.
	LastSuccess, TokenExpires time.Time
	// Requests that got a usable answer, and Failed ones, since the start.
	Requests, Failed uint64
}

// providers asks for the newest state at each scrape, so that no sample is ever older than that.
type providers struct {
	ask                              func() []Provider
	up, lastSuccess, expiry, request *prometheus.Desc
}

// WatchProviders registers the metrics of secret providers. ask is called at each scrape,
// and must not wait for anything. Call it once.
func (m *Metrics) WatchProviders(ask func() []Provider) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"provider"}, labels...), nil)
	}
	m.registry.MustRegister(&providers{
		ask: ask,
		up:  desc("ktrdr_secret_provider_up", "1 while the provider's last answer could be used, else 0; absent before it was asked."),
		lastSuccess: desc("ktrdr_secret_provider_last_success_timestamp_seconds",
			"When the provider last gave an answer that could be used; absent before the first one."),
		expiry: desc("ktrdr_secret_provider_token_expiry_timestamp_seconds",
			"When the provider's token expires; absent for one that never does."),
		request: desc("ktrdr_secret_provider_requests_total", "Requests to the provider, by result: ok or error.", "result"),
	})
}

// Describe implements prometheus.Collector.
func (p *providers) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{p.up, p.lastSuccess, p.expiry, p.request} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (p *providers) Collect(out chan<- prometheus.Metric) {
	for _, of := range p.ask() {
		name := clean(of.Name)
		if of.Asked {
			out <- prometheus.MustNewConstMetric(p.up, prometheus.GaugeValue, of.value(), name)
		}
		out <- prometheus.MustNewConstMetric(p.request, prometheus.CounterValue, float64(of.Requests), name, ResultOK)
		out <- prometheus.MustNewConstMetric(p.request, prometheus.CounterValue, float64(of.Failed), name, "error")
		if !of.LastSuccess.IsZero() {
			out <- prometheus.MustNewConstMetric(p.lastSuccess, prometheus.GaugeValue, float64(of.LastSuccess.Unix()), name)
		}
		if !of.TokenExpires.IsZero() {
			out <- prometheus.MustNewConstMetric(p.expiry, prometheus.GaugeValue, float64(of.TokenExpires.Unix()), name)
		}
	}
}

func (p Provider) value() float64 {
	if p.Up {
		return 1
	}
	return 0
}
