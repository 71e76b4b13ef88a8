// Package observe keeps what one engine holds in memory (Cache): a full list first, then
// the engine's events, with a slow relist as the safety net. A round of the reconcile
// loop reads it without a call to the engine. A pidfd on the process of each running
// container tells of a death long before the engine does, where processes are visible.
//
// Events are hints: the object is inspected again, and only what an inspection says is
// published. It never changes anything in the engine and decides nothing. Called by
// pkg/agent (Run, the agent's own knowledge), pkg/agent/reconcile (Snapshot) and
// pkg/agent/apply (Refresh after an operation).
package observe
