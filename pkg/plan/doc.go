// Package plan turns desired and observed state into operations.
//
// Build is a pure function: no I/O, no clock, no randomness, no goroutines, and the same
// input gives the same plan. It is run again after every operation, so a plan holds what
// is left to do from here; a plan after a successful apply is empty. Called by
// pkg/agent/reconcile, which hands ready operations to pkg/agent/apply, and by pkg/ctl.
package plan
