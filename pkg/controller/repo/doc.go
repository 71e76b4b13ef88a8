// Package repo is the desired-state repository as the controller has it: trees by revision,
// history, changes that are commits. Hosted keeps a bare repository on this machine and serves
// it to git over HTTPS, with a gate that every push and every change passes before it counts.
// Followed keeps a copy of a remote repository.
//
// What counts as the head is a key of the controller's store, not the branch: the gate moves
// it by compare-and-swap, and the branch is brought after it, also after a crash
// (docs/spec/git-hosting.md).
//
// The package parses the commands of a push and leaves packs to the git program, which it runs
// without a shell, without anybody's configuration, in a process group of its own, with limits
// on time and output. It checks out with pkg/source, which runs nothing out of a repository.
// It never sees a secret value: the repository holds references. It does not know who may do
// what; the caller says so (Authorize, Gate).
package repo
