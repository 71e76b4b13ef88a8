// Package source brings the desired state to this machine: a folder (Dir) or a git repository (Git) becomes
// a Tree, an immutable copy of one revision on disk. Commits does the same for any commit of a repository that is on
// this machine already.
//
// It knows nothing of what the files mean. It never runs anything out of a repository (no hooks, filters,
// submodules or worktrees), never follows a symbolic link while it copies, never writes outside its CacheDir, and
// never lets a credential into an error or a log.
//
// A tree is complete or absent: it is written next to its final place, renamed, and only then recorded. The record
// holds a digest of the whole tree outside of the tree, so that a copy that was cut short or changed by hand is
// noticed and built again. Nothing in CacheDir is precious; all of it may be deleted while no source is open.
//
// The agent (git mode), the controller (when it follows a remote repository) and ktrdrctl (validate and plan of a
// folder) call it. All kinds pass the suite in sourcetest.
package source
