// Package gate holds the node's policy against the desired state while the agent runs: it
// reads the policy file again when it changes, follows the symbolic links of host paths
// within a time limit, and remembers its verdict on each stack.
//
// What is allowed is decided in package policy. It never changes anything and never sees a
// secret value. Called by pkg/agent.
package gate
