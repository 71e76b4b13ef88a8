package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// noCore keeps this process's memory out of core files, also where the kernel hands them
// to a program, which the limit alone does not stop; helper processes inherit the limit.
// Source: core(5), prctl(2).
func noCore() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("turn core files off: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("turn core files off: %w", err)
	}
	return nil
}
