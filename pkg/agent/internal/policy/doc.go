// Package policy decides what of the desired state a node accepts. The rules stand in a
// file of the node that neither git nor a controller can change: they are what is left
// when somebody who may push sends good secret references to a bad image.
//
// Parse and Check are pure: no file system, no clock, no network. Read alone touches a
// file, the policy's own. Where host paths lead is told by the caller. It never resolves a
// reference and never sees a value. Called by pkg/agent.
package policy
