// Package ctl holds the verbs of ktrdrctl: they ask the controller of a fleet (proto/ktrdr/v1) or
// one agent over its HTTP interface (docs/spec/http.md), or check a desired-state folder locally, and
// say what they found in words and in an exit code (docs/spec/ctl.md, docs/spec/status.md).
//
// It never links the agent, touches no engine and resolves no secret. cmd/ctl calls Main.
package ctl
