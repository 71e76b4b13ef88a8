package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/deliver"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// Prepare mounts the memory that secrets are delivered in, for the whole host. The unit runs
// it as root before the agent, which may mount nothing; it is done once and stays when the
// agent stops.
func Prepare(cfg Config) error { return deliver.MountOnHost(cfg.SecretsDir) }

// newDelivery finds the parts of the delivery of secrets as files.
func (c *Config) newDelivery() (deliver.Config, error) {
	program := c.ExecPath
	if program == "" {
		self, err := os.Executable()
		if err != nil {
			return deliver.Config{}, fmt.Errorf("find ktrdr-exec beside this program: %w; set execPath", err)
		}
		program = filepath.Join(filepath.Dir(self), "ktrdr-exec")
	}
	return deliver.Config{Dir: c.SecretsDir, Exec: program, Copies: filepath.Join(c.StateDir, "exec")}, nil
}

// deliveryTick is how often folders of containers that are gone are looked for, and
// whether what a delivery lacks is there now.
const deliveryTick = 15 * time.Second

// keepDelivery looks after the folders of secrets: those of containers that went without
// the agent are removed.
func (a *Agent) keepDelivery(ctx context.Context) error {
	ticker := time.NewTicker(deliveryTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		a.checkDelivery(a.desired.Load())
		a.pruneDelivery(ctx)
	}
}

// checkDelivery makes ready what the desired state needs for a delivery of secrets as
// files, and nothing when it needs none.
func (a *Agent) checkDelivery(d *api.Desired) {
	if !usesFolders(d) {
		a.cache.SetDeliveryFault("")
		return
	}
	err := a.folders.Check()
	if err == nil {
		a.cache.SetDeliveryFault("")
		return
	}
	if a.cache.Snapshot().DeliveryFault != err.Error() {
		a.log.Error("secrets can't be delivered", "err", err)
	}
	a.cache.SetDeliveryFault(err.Error())
}

func usesFolders(d *api.Desired) bool {
	if d == nil {
		return false
	}
	for i := range d.Stacks {
		for j := range d.Stacks[i].Services {
			svc := &d.Stacks[i].Services[j]
			for k := range svc.Replicas {
				if plan.UsesFolder(&d.Stacks[i], svc, &svc.Replicas[k]) {
					return true
				}
			}
		}
	}
	return false
}

func (a *Agent) pruneDelivery(ctx context.Context) {
	if !a.cache.Snapshot().Complete {
		return
	}
	removed, err := a.folders.Prune(func() []string { return boundPaths(a.cache.Snapshot()) })
	for _, folder := range removed {
		a.cache.SetFolder(folder, "")
	}
	if err != nil {
		a.log.WarnContext(ctx, "old secret folders stay in memory", "err", err)
	}
}

// boundPaths are the host paths that any container binds.
func boundPaths(obs *api.Observed) []string {
	var paths []string
	for _, c := range obs.Containers {
		for _, m := range c.Spec.Mounts {
			if m.Type == api.MountBind {
				paths = append(paths, m.Source)
			}
		}
	}
	return paths
}
