// Package environ reads settings from environment variables and names the variable, never its value, in errors.
//
// It never reads the process environment by itself: callers pass os.Getenv or a map's lookup.
package environ

import (
	"fmt"
	"strconv"
	"time"
)

// Lookup returns the value of a variable, empty when it is not set.
type Lookup func(name string) string

// First returns the first value that is set, by the order of names.
func (l Lookup) First(names ...string) string {
	for _, name := range names {
		if v := l(name); v != "" {
			return v
		}
	}
	return ""
}

// Duration reads a positive duration such as 500ms, or returns fallback when the variable is not set.
func (l Lookup) Duration(name string, fallback time.Duration) (time.Duration, error) {
	raw := l(name)
	if raw == "" {
		return fallback, nil
	}
	d, err := time.ParseDuration(raw)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%s: want a positive duration such as 500ms", name)
	}
	return d, nil
}

// Port checks that value, which came from the variable name or its flag, is a TCP port.
func Port(name, value string) error {
	if n, err := strconv.ParseUint(value, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%s: want a port from 1 to 65535", name)
	}
	return nil
}
