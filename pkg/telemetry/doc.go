// Package telemetry is what a program needs to be watched and reached: a logger that
// redacts, metrics with bounded labels, listeners that are private by default, an HTTP
// server with limits, and the notifications that systemd waits for.
//
// It knows nothing about desired state or engines, keeps no state in package variables,
// and never listens beyond loopback unless it is told to. pkg/agent and
// pkg/agent/report call it; only this package imports the Prometheus client.
package telemetry
