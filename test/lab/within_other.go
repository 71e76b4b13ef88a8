//go:build !linux

package lab

import "os"

func within(string, func() error) error { return ErrUnavailable }

func openTap(string) (*os.File, error) { return nil, ErrUnavailable }
