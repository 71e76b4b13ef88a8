package report

import (
	"errors"
	"log/slog"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/pkg/telemetry"
)

// classified is what errors of pkg/agent/apply know about themselves.
type classified interface {
	error
	Failure() (api.ErrorClass, api.Reason)
}

// maxFailures bounds the failures remembered for a stack that never converges.
const maxFailures = 500

// Applied notes that an operation ended.
func (r *Report) Applied(name string, op plan.Op, took time.Duration, err error) {
	class, reason := classify(err)
	result := telemetry.ResultOK
	if err != nil {
		result = string(class)
		if ofEngine(reason) {
			r.metrics.EngineError(string(reason))
		}
	}
	r.metrics.Operated(string(op.Kind), result, took)

	r.mu.Lock()
	s := r.stacks[name]
	repaired := err == nil && mutates(op.Kind) && s != nil && s.converged != "" && s.converged == s.plan.Revision
	news := !learns(op.Kind) && (s == nil || s.failed(op.Key, reason))
	r.mu.Unlock()

	if repaired {
		r.metrics.DriftRepaired(string(op.Kind))
	}
	if news {
		r.events.add(operationIncident(name, op, took, err))
	}
}

// failed remembers the end of an operation, with an empty reason when it succeeded, and
// tells whether it is news: every success, and each failure that differs from the last one.
func (s *stack) failed(key string, reason api.Reason) bool {
	if reason == "" {
		delete(s.failures, key)
		return true
	}
	if s.failures[key] == reason {
		return false
	}
	if len(s.failures) >= maxFailures {
		clear(s.failures)
	}
	s.failures[key] = reason
	return true
}

func classify(err error) (api.ErrorClass, api.Reason) {
	if err == nil {
		return "", ""
	}
	if c, ok := errors.AsType[classified](err); ok {
		return c.Failure()
	}
	return api.Transient, api.ReasonEngineFailed
}

func operationIncident(name string, op plan.Op, took time.Duration, err error) incident {
	e := incident{
		Event: api.Event{
			Level: levelInfo, Stack: name, Object: op.Object, Reason: api.ReasonProgressing,
			Message: string(op.Kind) + ": " + op.Cause,
		},
		text: "operation done",
		attrs: []slog.Attr{
			slog.String("op", string(op.Kind)), slog.String("service", op.Service), slog.String("container_id", op.ID),
			slog.Duration("duration", took),
		},
	}
	if err == nil {
		return e
	}
	class, reason := classify(err)
	e.Level, e.Reason, e.Message, e.text = levelWarn, reason, string(op.Kind)+": "+err.Error(), "operation failed"
	if class == api.Terminal {
		e.Level = levelError
	}
	e.attrs = append(e.attrs, slog.Any("err", err))
	return e
}

// learns are the operations that only look; what they find shows in the status.
func learns(k plan.Kind) bool {
	switch k {
	case plan.Resolve, plan.Measure, plan.Compare, plan.Probe, plan.AwaitExit, plan.AwaitDelay, plan.LearnKept:
		return true
	case plan.Pull, plan.CreateNetwork, plan.RemoveNetwork, plan.Connect, plan.Disconnect, plan.CreateVolume, plan.Create,
		plan.CopyFiles, plan.Start, plan.Stop, plan.Restart, plan.Remove, plan.Rename, plan.Update, plan.Unpause, plan.Hook,
		plan.Adopt, plan.RecordJob, plan.RecordGood, plan.QuarantineRevision, plan.LiftQuarantine, plan.Rotate, plan.FillFolder:
	}
	return false
}

// mutates are the operations that change containers, networks or volumes.
func mutates(k plan.Kind) bool {
	switch k {
	case plan.CreateNetwork, plan.RemoveNetwork, plan.Connect, plan.Disconnect, plan.CreateVolume, plan.Create, plan.CopyFiles,
		plan.Start, plan.Stop, plan.Restart, plan.Remove, plan.Rename, plan.Update, plan.Unpause:
		return true
	case plan.Resolve, plan.Pull, plan.Measure, plan.Compare, plan.Probe, plan.AwaitExit, plan.AwaitDelay, plan.Hook, plan.Adopt, plan.RecordJob,
		plan.RecordGood, plan.QuarantineRevision, plan.LiftQuarantine, plan.LearnKept, plan.Rotate, plan.FillFolder:
	}
	return false
}
