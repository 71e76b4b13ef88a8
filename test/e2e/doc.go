// Package e2e runs the built agent and ktrdrctl against real Docker engines and real git,
// one acceptance scenario a test. It has no code outside of its tests.
//
// Most tests use the machine's engine with a project of their own and run beside each
// other; those that need the user's names and ports, or that crash, hang and reboot an
// engine, run on a node of test/lab. What is judged is told by the engine's own API, not
// by the product. KTRDR_E2E_BINARIES names a folder with ready programs (ktrdr-agent,
// ktrdrctl, ktrdrsim); KTRDR_SHARED the folder with the user's own files.
package e2e
