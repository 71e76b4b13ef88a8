// Package e2e runs the built agent and ktrdrctl against a real Docker engine and real git,
// one acceptance scenario a test. It has no code outside of its tests.
package e2e
