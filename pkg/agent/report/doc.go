// Package report keeps what an agent tells about itself: the newest plan and status of
// every stack, the conditions of the node, a log of what changed, and the metrics; and it
// answers for them over HTTP. docs/spec/status.md and docs/spec/http.md describe both.
//
// It decides nothing and changes nothing: requests that change something go to a Backend.
// It knows no engine and no secret. pkg/agent/reconcile feeds it, pkg/agent wires it.
package report
