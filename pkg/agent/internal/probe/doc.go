// Package probe asks one thing of the world and says what it saw: is a required mount
// there for real, which file of a backup is the newest (Mounts), does a port answer (Check),
// who is registered somewhere (Registered).
//
// The agent's own process touches neither a mount nor a folder of backups: a system call on a dead NFS server can
// hang for ever in a state that no signal ends. A helper process does, and is abandoned
// when it hangs. Nothing here decides anything or remembers health: pkg/agent/reconcile
// calls it and keeps the results.
package probe
