// Package canary finds secret values where they must not be: in every form in which a
// program may write them down, in streams of any size, in folders, in git objects, and
// behind hashes that a weak value can be guessed from.
//
// It never tells a value, only which one was found and in which form. It knows nothing of
// the product. Called by test/e2e.
package canary
