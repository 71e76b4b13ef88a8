//go:build !linux

package deliver

import "errors"

var errLinux = errors.New("secrets are delivered as files on Linux only: set `delivery: env` in stack.yaml")

func inMemory(string) error { return errLinux }

// Mount makes dir a tmpfs.
func Mount(string) error { return errLinux }

// MountOnHost is Mount for the host.
func MountOnHost(string) error { return errLinux }

func hasNoswap(string) bool { return false }

func mayExec(string) error { return nil }
