// Package agent wires the parts of the node agent in the order in which state flows:
// source, desired, secrets, plan, apply, engine, report.
//
// It holds no logic of its own beyond following the source and keeping the loops fed.
// Called by cmd/agent.
package agent
