package agent

import (
	"log/slog"
	"path/filepath"
	"strings"

	"ktrdr.io/fleet/pkg/agent/internal/gate"
)

// CheckPolicy reads the policy file that the configuration names, if it does.
func (c *Config) CheckPolicy() error {
	if c.PolicyFile == "" {
		return nil
	}
	return gate.Check(c.PolicyFile)
}

// gate is the part of the configuration that bounds the desired state.
func (c *Config) gate(log *slog.Logger) gate.Config {
	// The agent's memory, what it hands to containers, and the way to steer it.
	guarded := []string{"/run/ktrdr", filepath.Clean(c.Socket), filepath.Clean(c.StateDir), filepath.Clean(c.SecretsDir)}
	if socket, ok := strings.CutPrefix(c.Engine.Host, "unix://"); ok {
		guarded = append(guarded, filepath.Clean(socket))
	}
	return gate.Config{File: c.PolicyFile, Guarded: guarded, Log: log}
}
