//go:build !linux

package lab

import "net"

func listenIn(_, _ string) (net.Listener, error) { return nil, ErrUnavailable }
