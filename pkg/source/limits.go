package source

import (
	"errors"
	"fmt"
)

// Limits bound what a source accepts. They protect the node from a repository that is not a desired state at all.
type Limits struct {
	// MaxFiles is the most files, links and folders in a tree. Default 10000; 0 means the default.
	MaxFiles int
	// MaxBytes is the most bytes of file content in a tree. Default 64 MiB; 0 means the default.
	MaxBytes int64
	// MaxTransferBytes is the most bytes that one git fetch may receive, and the largest single git object. It
	// covers parts of the repository outside the sub-folder too. Default 256 MiB; 0 means the default.
	MaxTransferBytes int64
}

// DefaultLimits returns the limits that stand for zero values.
func DefaultLimits() Limits {
	return Limits{MaxFiles: 10_000, MaxBytes: 64 << 20, MaxTransferBytes: 256 << 20}
}

// withDefaults replaces zero values.
func (l Limits) withDefaults() Limits {
	d := DefaultLimits()
	if l.MaxFiles == 0 {
		l.MaxFiles = d.MaxFiles
	}
	if l.MaxBytes == 0 {
		l.MaxBytes = d.MaxBytes
	}
	if l.MaxTransferBytes == 0 {
		l.MaxTransferBytes = d.MaxTransferBytes
	}
	return l
}

// Validate returns all problems joined. Negative limits are refused rather than read as "no limit".
func (l Limits) Validate() error {
	var errs []error
	if l.MaxFiles < 0 {
		errs = append(errs, fmt.Errorf("limits.maxFiles: %d is negative", l.MaxFiles))
	}
	if l.MaxBytes < 0 {
		errs = append(errs, fmt.Errorf("limits.maxBytes: %d is negative", l.MaxBytes))
	}
	if l.MaxTransferBytes < 0 {
		errs = append(errs, fmt.Errorf("limits.maxTransferBytes: %d is negative", l.MaxTransferBytes))
	}
	return errors.Join(errs...)
}
