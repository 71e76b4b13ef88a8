package report

import (
	"log/slog"
	"maps"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Levels of events.
const (
	levelInfo  = "info"
	levelWarn  = "warn"
	levelError = "error"
)

// sameReason tells whether two conditions say the same; their wording may differ.
func sameReason(a, b *api.Condition) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Type == b.Type && a.Status == b.Status && a.Reason == b.Reason && a.Object == b.Object
}

// withSince returns a copy of c that keeps the time of before while it says the same.
func withSince(c, before *api.Condition) *api.Condition {
	if c == nil {
		return nil
	}
	kept := *c
	if sameReason(before, c) {
		kept.Since = before.Since
	}
	if kept.Since.IsZero() {
		kept.Since = time.Now()
	}
	return &kept
}

// putCondition takes or removes a condition of the node, and returns the event that tells of
// it, if it is news. The caller holds the lock.
func (r *Report) putCondition(key string, c *api.Condition) []incident {
	var before *api.Condition
	if known, ok := r.conditions[key]; ok {
		before = &known
	}
	if c == nil {
		delete(r.conditions, key)
	} else {
		r.conditions[key] = *withSince(c, before)
	}
	if sameReason(before, c) {
		return nil
	}
	if c != nil && ofEngine(c.Reason) {
		r.metrics.EngineError(string(c.Reason))
	}
	return []incident{conditionIncident(key, before, c)}
}

// conditionIncident says that a condition of the node came, changed or went.
func conditionIncident(key string, before, c *api.Condition, attrs ...slog.Attr) incident {
	if c == nil {
		return incident{
			Event: api.Event{Level: levelInfo, Object: key, Reason: api.ReasonConverged, Message: string(before.Reason) + " is over"},
			text:  "condition is over", attrs: attrs,
		}
	}
	return incident{
		Event: api.Event{Level: levelOf(c), Object: key, Reason: c.Reason, Message: c.Message},
		text:  "condition", attrs: attrs,
	}
}

// levelOf is error when a person must act, else warn: the agent goes on trying.
func levelOf(c *api.Condition) string {
	if c.Type == api.ConditionBlocked || c.Reason == api.ReasonInvalid || c.Reason == api.ReasonStateCorrupt {
		return levelError
	}
	return levelWarn
}

// ofEngine tells which reasons are the engine's or its registry's doing.
func ofEngine(r api.Reason) bool {
	return slices.Contains([]api.Reason{
		api.ReasonEngineDown, api.ReasonEngineHung, api.ReasonEngineFailed, api.ReasonContainerHung, api.ReasonUnsupported,
		api.ReasonImageMissing, api.ReasonImageDenied, api.ReasonImagePull,
		api.ReasonNameConflict, api.ReasonPortConflict, api.ReasonPortLost, api.ReasonDiskFull,
	}, r)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
