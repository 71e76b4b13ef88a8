package telemetry

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// FleetState is what a controller's metrics tell, at one moment.
type FleetState struct {
	// Nodes that are connected here, to any controller, that have joined, and that the head has.
	ConnectedHere, Connected, Joined, Desired int
	// Converged are connected nodes on which every stack is.
	Converged int
	// Leading says that this controller drives rollouts.
	Leading bool
	// Rollout is the phase of the newest; empty before the first.
	Rollout string
	// Since is when it began.
	Since time.Time
}

// ControllerMetrics are the metrics of one controller, in a registry of their own. All methods
// are safe for concurrent use.
type ControllerMetrics struct {
	registry *prometheus.Registry
	slices   prometheus.Counter
	ended    *prometheus.CounterVec
	changes  *prometheus.CounterVec
	outcomes *labels
}

// NewControllerMetrics registers all metrics. state is asked at each scrape.
func NewControllerMetrics(b Build, state func() FleetState) *ControllerMetrics {
	m := &ControllerMetrics{
		registry: prometheus.NewRegistry(), outcomes: newLabels(maxReasons),
		slices:  prometheus.NewCounter(prometheus.CounterOpts{Name: "ktrdr_controller_slices_sent_total", Help: "Slices of desired state that were sent to nodes."}),
		ended:   counter("ktrdr_controller_rollouts_total", "Rollouts that ended while this controller led, by phase.", "phase"),
		changes: counter("ktrdr_controller_changes_total", "Changes of the head that were offered to the gate, by result.", "result"),
	}
	build := gauge("ktrdr_build_info", "Always 1; the labels say which build runs.", "version", "commit", "goversion")
	build.WithLabelValues(clean(b.Version), clean(b.Commit), runtime.Version()).Set(1)
	m.registry.MustRegister(
		build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.slices, m.ended, m.changes, newFleetCollector(state),
	)
	return m
}

// SliceSent counts a slice.
func (m *ControllerMetrics) SliceSent() { m.slices.Inc() }

// RolloutEnded counts a rollout.
func (m *ControllerMetrics) RolloutEnded(phase string) {
	m.ended.WithLabelValues(m.outcomes.of(phase)).Inc()
}

// Changed counts a change of the head: accepted, refused or failed.
func (m *ControllerMetrics) Changed(result string) {
	m.changes.WithLabelValues(m.outcomes.of(result)).Inc()
}

// Handler serves the metrics in the formats that Prometheus asks for.
func (m *ControllerMetrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// fleetCollector makes metrics of a state.
type fleetCollector struct {
	state                          func() FleetState
	nodes, leading, rollout, since *prometheus.Desc
}

func newFleetCollector(state func() FleetState) *fleetCollector {
	return &fleetCollector{
		state:   state,
		nodes:   prometheus.NewDesc("ktrdr_controller_nodes", "Nodes by state: desired, joined, connected (to any controller), connected_here, converged.", []string{"state"}, nil),
		leading: prometheus.NewDesc("ktrdr_controller_leading", "1 while this controller drives rollouts, else 0.", nil, nil),
		rollout: prometheus.NewDesc("ktrdr_controller_rollout_info", "Always 1; the label is the phase of the newest rollout.", []string{"phase"}, nil),
		since:   prometheus.NewDesc("ktrdr_controller_rollout_started_seconds", "When the newest rollout began, in seconds since 1970.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *fleetCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.nodes, c.leading, c.rollout, c.since} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *fleetCollector) Collect(to chan<- prometheus.Metric) {
	s := c.state()
	set := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for state, count := range map[string]int{
		"desired": s.Desired, "joined": s.Joined, "connected": s.Connected, "connected_here": s.ConnectedHere, "converged": s.Converged,
	} {
		set(c.nodes, float64(count), state)
	}
	leading := 0.0
	if s.Leading {
		leading = 1
	}
	set(c.leading, leading)
	if s.Rollout != "" {
		set(c.rollout, 1, clean(s.Rollout))
		set(c.since, float64(s.Since.UnixMilli())/1000)
	}
}
