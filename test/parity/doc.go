// Package parity compares what docker compose asks of an engine with what this project
// asks for the same file: it builds docker compose from its Go module, runs it against a
// recording engine, and compares the recorded requests. Differences that are meant to be
// are Rules, each with its reason; docs/compose-differences.md lists them.
//
// It is used by tests only. The agent's side is driven by the parity tests of
// pkg/agent/internal/engine, which alone may reach the engine's client.
package parity
