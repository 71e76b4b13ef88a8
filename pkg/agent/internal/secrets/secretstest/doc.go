// Package secretstest is the conformance suite that every secrets.Provider passes.
//
// It never looks at how a provider works, only at what the contract of secrets.Provider
// promises. Tests of providers call it.
package secretstest
