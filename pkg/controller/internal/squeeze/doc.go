// Package squeeze compresses what a controller keeps of each node or revision and seldom reads.
// It knows nothing of what that is. Its functions are safe for concurrent use.
package squeeze
