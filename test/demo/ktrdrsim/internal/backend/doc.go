// Package backend is the stand-in for KTRDR's API server: worker registry, health loop, operations, metrics.
//
// State lives in memory and is gone after a restart, as the registry of the real backend is. It never queues work and
// never stores a secret: of the JWT secret only the length is looked at. The applet package calls it.
package backend
