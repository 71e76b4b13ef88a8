package agent

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"ktrdr.io/fleet/packaging"
	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/join"
	"ktrdr.io/fleet/pkg/api"
)

// Membership says which fleet this machine joins or leaves.
type Membership struct {
	// ConfigFile of the agent. Required.
	ConfigFile string
	// Controller and Token are for Join: https://host:port, and the text of a join token.
	Controller, Token string
	// DryRun only checks, Force replaces what is there.
	DryRun, Force bool
	// NoService leaves systemd alone: something else starts and stops the agent.
	NoService bool
	// Root is the machine's root folder, Systemctl the program. Defaults / and systemctl.
	Root, Systemctl string
	// Out gets a line for each step.
	Out io.Writer
}

func (m *Membership) system() join.System {
	if m.NoService {
		return join.Unsupervised{Run: "ktrdr-agent run --config " + m.ConfigFile}
	}
	root := m.Root
	if root == "" {
		root = "/"
	}
	return join.Systemd{Unit: packaging.Unit, Root: root, Systemctl: m.Systemctl}
}

// Join makes this machine a node of a controller's fleet and starts the agent.
func Join(ctx context.Context, m Membership) error {
	return join.Run(ctx, join.Request{
		Controller: m.Controller, Token: m.Token, ConfigFile: m.ConfigFile, Read: readSettings, System: m.system(),
		Engine: func(ctx context.Context) (api.Engine, error) { return askEngineOf(ctx, m.ConfigFile) },
		DryRun: m.DryRun, Force: m.Force, Out: m.Out,
	})
}

// Leave stops the agent and removes the node's certificate. Containers run on.
func Leave(ctx context.Context, m Membership) error {
	cfg, err := ReadConfig(m.ConfigFile)
	if err != nil {
		return err
	}
	if cfg.Source.Controller == nil {
		return fmt.Errorf("%s has no source.controller: this machine has not joined", m.ConfigFile)
	}
	return join.Leave(ctx, join.Departure{CredentialsDir: cfg.credentialsDir(), ConfigFile: m.ConfigFile, System: m.system(), Out: m.Out})
}

// readSettings returns defaults beside an error.
func readSettings(path string) (join.Settings, error) {
	cfg, err := ReadConfig(path)
	if err != nil {
		cfg = Default()
	}
	s := join.Settings{Node: cfg.Node, StateDir: cfg.StateDir, CredentialsDir: cfg.credentialsDir()}
	switch {
	case cfg.Source.Controller != nil:
		s.Source, s.Endpoints = "a controller", cfg.Source.Controller.Endpoints
	case cfg.Source.Git != nil:
		s.Source = "git repository " + cfg.Source.Git.URL
	case cfg.Source.Dir != nil:
		s.Source = "folder " + filepath.Clean(cfg.Source.Dir.Path)
	}
	return s, err
}

// askEngineOf asks the engine of a configuration, or of the default one.
func askEngineOf(ctx context.Context, path string) (api.Engine, error) {
	cfg, err := ReadConfig(path)
	if err != nil {
		cfg = Default()
	}
	engineCfg := engine.Default()
	engineCfg.Host = cfg.Engine.Host
	client, err := engine.New(engineCfg)
	if err != nil {
		return api.Engine{}, err
	}
	defer client.Close()
	return client.Info(ctx)
}
