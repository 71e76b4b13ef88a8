// Package rollout decides in which order nodes get a revision: Begin makes the record of a
// rollout, Next moves it on. Both are pure: the record that etcd keeps, what is known of the
// nodes and the time go in, a new record and the steps that were taken come out. So a
// controller that restarts, or another one, goes on where the record stands.
//
// It never talks to a node, a repository or etcd. pkg/controller/fleet drives it, and
// pkg/controller/hub sends each node what its Target in the record says.
package rollout
