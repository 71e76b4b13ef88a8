package telemetry

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics are the metrics of one agent, in a registry of their own. All methods are safe
// for concurrent use and never block on a scrape. Label values are bounded: see labels.
type Metrics struct {
	registry *prometheus.Registry

	stacks, kinds, reasons, paths *labels

	reconcileSeconds   *prometheus.HistogramVec
	reconcileRounds    *prometheus.CounterVec
	operations         *prometheus.CounterVec
	operationSeconds   *prometheus.HistogramVec
	driftRepaired      *prometheus.CounterVec
	desiredAge         *age
	desiredInfo        *prometheus.GaugeVec
	stackConverged     *prometheus.GaugeVec
	convergenceSeconds *prometheus.HistogramVec
	engineErrors       *prometheus.CounterVec
	engineUp           prometheus.Gauge
	sourceErrors       *prometheus.CounterVec
	mountOK            *prometheus.GaugeVec
}

// Build says what program the metrics are of.
type Build struct{ Version, Commit string }

// Limits of distinct label values; what comes later is counted as "other".
const (
	maxStacks  = 200
	maxKinds   = 64
	maxReasons = 64
	maxPaths   = 100
)

// NewMetrics registers all metrics, with those of the Go runtime and the process.
func NewMetrics(b Build) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		stacks:   newLabels(maxStacks), kinds: newLabels(maxKinds), reasons: newLabels(maxReasons), paths: newLabels(maxPaths),
	}
	m.stackMetrics()
	m.operationMetrics()
	m.nodeMetrics()
	build := gauge("ktrdr_build_info", "Always 1; the labels say which build runs.", "version", "commit", "goversion")
	build.WithLabelValues(clean(b.Version), clean(b.Commit), runtime.Version()).Set(1)
	m.registry.MustRegister(
		build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.reconcileSeconds, m.reconcileRounds, m.operations, m.operationSeconds, m.driftRepaired, m.desiredAge, m.desiredInfo,
		m.stackConverged, m.convergenceSeconds, m.engineErrors, m.engineUp, m.sourceErrors, m.mountOK,
	)
	return m
}

func (m *Metrics) stackMetrics() {
	m.reconcileSeconds = histogram("ktrdr_reconcile_duration_seconds", "Time to plan one round of a stack.",
		[]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .1, 1}, "stack")
	m.reconcileRounds = counter("ktrdr_reconcile_rounds_total", "Rounds of a stack that were planned.", "stack")
	m.stackConverged = gauge("ktrdr_stack_converged",
		"1 while everything of the stack was read back from the engine as wanted and healthy, else 0.", "stack")
	m.convergenceSeconds = histogram("ktrdr_stack_convergence_seconds",
		"Time from a change of the revision to the stack being converged; stacks that a revision does not touch don't count.",
		[]float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600}, "stack")
}

func (m *Metrics) operationMetrics() {
	m.operations = counter("ktrdr_operations_total",
		"Operations that ended, by kind and result: ok, or the class of the failure.", "kind", "result")
	m.operationSeconds = histogram("ktrdr_operation_duration_seconds", "Duration of operations that ended.",
		[]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}, "kind")
	m.driftRepaired = counter("ktrdr_drift_repaired_total",
		"Operations that changed the engine although the stack had already converged on the same revision.", "kind")
	m.engineErrors = counter("ktrdr_engine_errors_total", "Failures that the engine reported or caused, by reason.", "reason")
}

func (m *Metrics) nodeMetrics() {
	m.desiredAge = newAge("ktrdr_desired_state_age_seconds",
		"Time since the source last confirmed the desired state that is in force; since the agent's start when it never did. "+
			"Absent while no desired state is in force.")
	m.desiredInfo = gauge("ktrdr_desired_state_info", "Always 1; the label is the revision in force.", "revision")
	m.engineUp = prometheus.NewGauge(prometheus.GaugeOpts{Name: "ktrdr_engine_up", Help: "1 while the engine answers, else 0."})
	m.sourceErrors = counter("ktrdr_source_errors_total", "Looks at the source that gave no valid desired state, by reason.", "reason")
	m.mountOK = gauge("ktrdr_mount_ok", "1 while a required mount is there as wanted, else 0.", "path")
}

// Handler serves the metrics in the formats that Prometheus asks for.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}
