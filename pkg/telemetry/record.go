package telemetry

import "time"

// ResultOK is the result of an operation that did not fail.
const ResultOK = "ok"

// Stack tells about one round of a stack.
type Stack struct {
	Name      string
	Converged bool
	// Took is the time that planning took.
	Took time.Duration
}

// Reconciled counts a round.
func (m *Metrics) Reconciled(s Stack) {
	label := m.stacks.of(s.Name)
	m.reconcileRounds.WithLabelValues(label).Inc()
	m.reconcileSeconds.WithLabelValues(label).Observe(s.Took.Seconds())
	m.stackConverged.WithLabelValues(label).Set(s.value())
}

// ConvergedAfter notes how long a stack took from a new revision to converged.
func (m *Metrics) ConvergedAfter(stack string, took time.Duration) {
	m.convergenceSeconds.WithLabelValues(m.stacks.of(stack)).Observe(took.Seconds())
}

// ForgetStack removes the series of a stack that is gone.
func (m *Metrics) ForgetStack(stack string) {
	label := m.stacks.forget(stack)
	m.reconcileRounds.DeleteLabelValues(label)
	m.reconcileSeconds.DeleteLabelValues(label)
	m.stackConverged.DeleteLabelValues(label)
	m.convergenceSeconds.DeleteLabelValues(label)
}

// Operated counts an operation that ended; result is ResultOK or the class of its failure.
func (m *Metrics) Operated(kind, result string, took time.Duration) {
	label := m.kinds.of(kind)
	m.operations.WithLabelValues(label, m.reasons.of(result)).Inc()
	m.operationSeconds.WithLabelValues(label).Observe(took.Seconds())
}

// DriftRepaired counts an operation that put back what somebody else had changed.
func (m *Metrics) DriftRepaired(kind string) {
	m.driftRepaired.WithLabelValues(m.kinds.of(kind)).Inc()
}

// SetDesired names the revision that is in force.
func (m *Metrics) SetDesired(revision string) {
	m.desiredInfo.Reset()
	m.desiredInfo.WithLabelValues(clean(revision)).Set(1)
	m.desiredAge.show()
}

// DesiredConfirmed notes when the source last confirmed the state that is in force.
func (m *Metrics) DesiredConfirmed(at time.Time) { m.desiredAge.set(at) }

// EngineError counts a failure of the engine.
func (m *Metrics) EngineError(reason string) {
	m.engineErrors.WithLabelValues(m.reasons.of(reason)).Inc()
}

// EngineUp says that the engine answers.
func (m *Metrics) EngineUp() { m.engineUp.Set(1) }

// EngineDown says that the engine does not answer.
func (m *Metrics) EngineDown() { m.engineUp.Set(0) }

// SourceError counts a look at the source that gave no valid state.
func (m *Metrics) SourceError(reason string) {
	m.sourceErrors.WithLabelValues(m.reasons.of(reason)).Inc()
}

// Mount is the state of one required mount.
type Mount struct {
	Path string
	OK   bool
}

// SetMount notes the state of a mount.
func (m *Metrics) SetMount(mount Mount) {
	m.mountOK.WithLabelValues(m.paths.of(mount.Path)).Set(mount.value())
}

// ForgetMount removes the series of a mount that is no longer required.
func (m *Metrics) ForgetMount(path string) { m.mountOK.DeleteLabelValues(m.paths.forget(path)) }

func (s Stack) value() float64 {
	if s.Converged {
		return 1
	}
	return 0
}

func (m Mount) value() float64 {
	if m.OK {
		return 1
	}
	return 0
}
