// Package apply runs operations of a plan: one operation, one idempotent call of the
// engine, and then a look at the object so that the next plan sees what changed.
//
// It decides nothing: what to do and in which order is the plan's. It is the only place
// where a secret value is opened. Called by pkg/agent/reconcile through its Applier
// interface.
package apply
