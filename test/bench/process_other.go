//go:build !linux

package main

import (
	"errors"
	"os/exec"
	"time"
)

func endWithUs(*exec.Cmd) {}

func awaitExit(int) (<-chan time.Time, error) { return nil, errors.New("only Linux has pidfds") }
