package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/agent/doctor"
	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/report"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/wire/pki"
)

// Examination says how a machine is examined.
type Examination struct {
	// Canary starts a container and removes it.
	Canary bool
}

// Examine checks a machine on which no agent runs: its engine, folders, clock and the
// certificates of the configuration. It calls emit for each row, one at a time.
func Examine(ctx context.Context, cfg Config, e Examination, emit func(api.Check)) error {
	engineCfg := engine.Default()
	engineCfg.Host = cfg.Engine.Host
	client, err := engine.New(engineCfg)
	if err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	defer client.Close()
	found := doctor.Config{Engine: client, Folders: cfg.folders(), Certificates: cfg.certificates()}
	if delivery, err := cfg.newDelivery(); err == nil {
		found.Canary = &doctor.Canary{Images: client, Life: client, Program: delivery.Exec}
	}
	doctor.Run(ctx, found, doctor.Request{Canary: e.Canary}, emit)
	return ctx.Err()
}

// Doctor checks whether the node can run what a desired state asks of it.
func (b backend) Doctor(ctx context.Context, req report.DoctorRequest, emit func(api.Check)) error {
	d := b.a.desired.Load()
	if req.Dir != "" {
		var err error
		if d, _, err = desired.Load(ctx, desired.Request{Root: req.Dir, Node: b.a.cfg.Node, Revision: "local"}); err != nil {
			return err
		}
	}
	doctor.Run(ctx, b.a.doctor(), doctor.Request{Desired: d, Canary: req.Canary}, emit)
	return ctx.Err()
}

// doctor is what checks look at in a running agent.
func (a *Agent) doctor() doctor.Config {
	cfg := doctor.Config{
		Engine:     a.engine,
		Containers: func() map[string]*api.Container { return byName(a.cache.Snapshot()) },
		Delivery:   a.folders.Check,
		OwnNetwork: doctor.OwnNetwork(),
		Registry:   a.askRegistry,
		Mounts:     a.mounts.probe,
		Secrets:    a.askSecrets,
		Policy: func(ctx context.Context, d *api.Desired, s *api.Stack) []api.Condition {
			return a.gate.DeniedOf(ctx, d, s)
		},
		PolicyStatus: a.report.Policy,
		Folders:      a.cfg.folders(),
		Certificates: a.cfg.certificates(),
		Source:       a.report.Source,
	}
	if delivery, err := a.cfg.newDelivery(); err == nil {
		cfg.Canary = &doctor.Canary{Images: a.engine, Life: a.engine, Program: delivery.Exec}
	}
	return cfg
}

func byName(obs *api.Observed) map[string]*api.Container {
	named := map[string]*api.Container{}
	if obs == nil {
		return named
	}
	for _, c := range obs.Containers {
		named[c.Name] = c
	}
	return named
}

// askRegistry logs in with what the state in force says: a tree that was merely uploaded
// does not decide who gets a password.
func (a *Agent) askRegistry(ctx context.Context, image doctor.Image) (string, error) {
	var logins []api.Registry
	if d := a.desired.Load(); d != nil {
		logins = d.Registries
	}
	return a.exec.AskRegistry(ctx, logins, image.Ref, image.Platform)
}

// askSecrets looks at the providers now and tells about the references of a desired state.
func (a *Agent) askSecrets(ctx context.Context, d *api.Desired) api.SecretsStatus {
	refs := slices.Concat(a.secretRefs(a.withNeeded(a.desired.Load())), a.secretRefs(d))
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	_ = a.secrets.Refresh(ctx, refs) // what failed is in the status of each reference
	return a.secretsStatusOf(d)
}

// folders that have to have room.
func (c *Config) folders() []doctor.Folder {
	return []doctor.Folder{
		{Path: c.StateDir, Purpose: "the agent's state and files of the repository"},
		{Path: c.SecretsDir, Purpose: "secrets on their way to containers", Memory: true},
	}
}

// certificates that the configuration names.
func (c *Config) certificates() []doctor.Certificate {
	var all []doctor.Certificate
	if c.Source.Git != nil && c.Source.Git.CAFile != "" {
		all = append(all, doctor.Certificate{Path: c.Source.Git.CAFile, Purpose: "authority of the git server"})
	}
	if c.Source.Controller != nil {
		// It is renewed at two thirds of its life: that late, something keeps it from it.
		all = append(all, doctor.Certificate{Path: pki.File(c.credentialsDir()), Purpose: "this node's certificate", Warn: 5 * 24 * time.Hour})
	}
	if c.Secrets.Connect != nil && c.Secrets.Connect.CAFile != "" {
		all = append(all, doctor.Certificate{Path: c.Secrets.Connect.CAFile, Purpose: "authority of the Connect server"})
	}
	return all
}
