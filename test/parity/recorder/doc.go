// Package recorder is an engine that makes nothing: it says yes to every image, remembers
// networks, volumes and containers by name, and records the requests that would have made
// them. Ids are made of names, so that two recordings of the same file have the same.
//
// It is used by tests only.
package recorder
