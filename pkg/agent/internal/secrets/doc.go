// Package secrets turns references into values and keeps them in memory.
//
// A Value redacts itself in every formatter and encoder; Value.Open is the only way to the
// text and is counted. A Provider resolves references; the Store keeps the last good
// values, tells keyed digests of them to the planner, and removes them from texts.
//
// It never writes a value anywhere, never blanks a value because its provider failed, and
// never puts what a provider answered into an error. pkg/agent wires it; only
// pkg/agent/apply opens values.
package secrets
