// Package logmerge puts the log lines of several nodes into one order, and shows none of
// them twice when a node sends again what it sent before its connection ended.
//
// It reads no clock and no network: time and lines are parameters. pkg/ctl's logs verb
// calls it, from one goroutine.
package logmerge
