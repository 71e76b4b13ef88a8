// Package reconcile is the loop of the agent: it plans every stack whose bell rang and
// hands what is ready to apply, until nothing is left.
//
// A round is pure computation. Operations run beside the loop; whenever one ends, or
// anything was observed, the stack is planned again from the truth. There is therefore
// no state to get out of step with the engine: after a crash the next round goes on where
// the engine stands. It never calls the engine itself. Called by pkg/agent.
package reconcile
