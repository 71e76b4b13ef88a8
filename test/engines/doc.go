// Package engines runs the tests of the engine client and a part of the end-to-end tests
// on newer Docker engines than the machine's. It has no code outside of its tests.
//
// scripts/engines.sh gets the engines; each is started on a node of test/lab, and the
// tests run in the namespaces of that node, where it is the machine's engine. Engines
// that are not there are skipped. KTRDR_ENGINES=1 (make test-engines) runs all that can
// run there, where `make test` runs a part, and fails instead of skipping.
package engines
