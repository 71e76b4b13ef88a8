//go:build !linux

package main

import (
	"errors"
	"time"
)

func awaitExit(int) (<-chan time.Time, error) { return nil, errors.New("only Linux has pidfds") }
