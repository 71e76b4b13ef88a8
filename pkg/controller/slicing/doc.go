// Package slicing makes what each node gets of a revision, once for all sessions: a Shelf holds
// the slices of the newest revisions with the contents of their small files, a Cut is the
// slice of one node as messages of the contract.
//
// It never decides which node gets which revision, and never gives a node a file that is not
// in its slice. pkg/controller/hub sends cuts, pkg/controller/fleet takes digests for
// rollouts and cuts of candidates for plans from it.
package slicing
