//go:build !linux

package main

// noCore does nothing: agents run on Linux, other systems are for development.
func noCore() error { return nil }
