// Package state is the agent's own memory on disk: what can't be read back from the
// engine (adoptions, finished jobs, holds, pending hooks, runs of containers that were seen,
// rollouts, pulls), the node's key, the last good desired state, and copies of repository files
// that containers bind.
//
// It never holds a secret value, only references and keyed digests, and never answers
// with content that it can't prove: what is damaged on disk is moved aside and made anew.
// It is the only importer of bbolt. pkg/agent wires it; plan and apply see its content
// through api.
package state
