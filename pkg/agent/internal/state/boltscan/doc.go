// Package boltscan reads one bucket out of the bytes of a bbolt file that may be damaged.
//
// bbolt maps a file into memory and trusts it: a damaged page ends in a panic, a fault
// that no recover catches, or an endless recursion. This package reads a copy, checks
// every offset, visits no page twice, and gives back what it could read together with
// what was wrong. It never writes. Only pkg/agent/internal/state calls it.
package boltscan
