// Package probe asks one thing of the world and says what it saw: is a required mount
// there for real (Mounts), does a port answer (Check).
//
// The agent's own process never touches a mount: a system call on a dead NFS server can
// hang for ever in a state that no signal ends. A helper process does, and is abandoned
// when it hangs. Nothing here decides anything or remembers health: pkg/agent/reconcile
// calls it and keeps the results.
package probe
