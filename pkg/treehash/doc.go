// Package treehash digests a file or a folder of the desired-state repository: names,
// executable bits and content. Where the file or folder lies is not part of the digest,
// so that moving it changes nothing.
//
// It reads through an fs.FS and never touches the operating system, never follows a
// symbolic link and never reads beyond its limits. pkg/desired computes the digests
// that specs carry, pkg/agent/internal/state checks its copies against them.
package treehash
