package engine

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Config says where the engine is and how long each class of call may take. A field of
// zero takes the value of Default.
type Config struct {
	// Host is where the engine listens: unix:///path, tcp://host:port or http://host:port.
	// Plain tcp is for tests and for a socket proxy on the loopback.
	Host string
	// Query limits calls that read: inspect, list, info.
	Query time.Duration
	// Change limits calls that write and are quick: create, remove, rename, connect, copy.
	Change time.Duration
	// Start limits the start of a container, which waits for its network and its mounts.
	Start time.Duration
	// PullIdle limits how long a pull may go without a message of progress. A pull has
	// no limit in all: the size of an image and the speed of a link are nobody's fault.
	PullIdle time.Duration
	// StopMargin is added to the grace period of a stop: the engine needs time to kill
	// what ignored the signal, and to clean up.
	StopMargin time.Duration
	// MaxBody limits an answer of the engine, in bytes; streams (events, pull, logs,
	// exec) are limited by message instead.
	MaxBody int64
	// Redact takes secrets out of what the engine and the programs in containers say, before
	// it is cut: half a secret is not recognised. nil leaves everything as it is. It must be
	// safe for concurrent use.
	Redact func(text string) string
}

// Default is the configuration of the engine of this machine.
func Default() Config {
	return Config{
		Host:       "unix:///var/run/docker.sock",
		Query:      10 * time.Second,
		Change:     60 * time.Second,
		Start:      60 * time.Second,
		PullIdle:   60 * time.Second,
		StopMargin: 30 * time.Second,
		MaxBody:    64 << 20,
		Redact:     func(text string) string { return text },
	}
}

// Validate joins all problems of the configuration.
func (c Config) Validate() error {
	var errs []error
	if _, _, err := splitHost(c.Host); err != nil {
		errs = append(errs, err)
	}
	limits := []struct {
		name  string
		value time.Duration
	}{
		{"query", c.Query},
		{"change", c.Change},
		{"start", c.Start},
		{"pull idle", c.PullIdle},
		{"stop margin", c.StopMargin},
	}
	for _, limit := range limits {
		if limit.value <= 0 {
			errs = append(errs, fmt.Errorf("time limit %s: %s is not positive", limit.name, limit.value))
		}
	}
	if c.MaxBody <= 0 {
		errs = append(errs, fmt.Errorf("limit of answers: %d bytes is not positive", c.MaxBody))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	d := Default()
	if c.Host == "" {
		c.Host = d.Host
	}
	for _, field := range []struct{ value, fallback *time.Duration }{
		{&c.Query, &d.Query},
		{&c.Change, &d.Change},
		{&c.Start, &d.Start},
		{&c.PullIdle, &d.PullIdle},
		{&c.StopMargin, &d.StopMargin},
	} {
		if *field.value == 0 {
			*field.value = *field.fallback
		}
	}
	if c.MaxBody == 0 {
		c.MaxBody = d.MaxBody
	}
	if c.Redact == nil {
		c.Redact = d.Redact
	}
	return c
}

// splitHost returns the network and the address to dial.
func splitHost(host string) (network, address string, err error) {
	if path, ok := strings.CutPrefix(host, "unix://"); ok {
		if !strings.HasPrefix(path, "/") {
			return "", "", fmt.Errorf("engine host %q: want unix:///absolute/path", host)
		}
		return "unix", path, nil
	}
	u, err := url.Parse(host)
	if err != nil || u.Host == "" || (u.Scheme != "tcp" && u.Scheme != "http") || strings.Trim(u.Path, "/") != "" {
		return "", "", fmt.Errorf("engine host %q: want unix:///path or tcp://host:port", host)
	}
	return "tcp", u.Host, nil
}
