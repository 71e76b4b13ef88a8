// Package controllers holds the tests of several controllers that share one fleet: programs as
// they are released, an etcd cluster of three members as processes of their own, a remote
// repository that git serves over HTTPS, and simulated agents with real certificates. Members
// and controllers are killed as a power failure kills them.
//
// It needs git and builds the controller once. -short makes the random test shorter.
package controllers
