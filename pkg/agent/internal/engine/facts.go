package engine

import (
	"context"
	"time"

	"github.com/moby/moby/client"

	"ktrdr.io/fleet/pkg/api"
)

// Facts are what the engine tells about itself and its machine.
type Facts struct {
	Engine api.Engine
	// MinimumAPI is the oldest API version that this program speaks.
	MinimumAPI                      string
	OperatingSystem, Kernel, OSType string
	CgroupVersion, CgroupDriver     string
	MemoryLimit, CPULimit           bool // whether limits of containers can be set
	LiveRestore                     bool
	Swarm                           bool
	DataRoot                        string
	// DriverStatus of the storage driver, such as "Backing Filesystem: extfs".
	DriverStatus    map[string]string
	SecurityOptions []string
	// Warnings in the engine's words.
	Warnings []string
	// Clock is the engine's time; zero when it can't be read. Asked is when it was asked for.
	Clock, Asked time.Time
	CPUs         int
	Memory       int64 // bytes
}

// Facts asks the engine about itself and its machine. Engine API: GET /info.
func (c *Client) Facts(ctx context.Context) (Facts, error) {
	var facts Facts
	err := c.do(ctx, call{op: "inspect engine", object: c.cfg.Host, limit: c.cfg.Query}, func(ctx context.Context, s *session) error {
		asked := time.Now()
		result, err := s.cli.Info(ctx, client.InfoOptions{})
		if err != nil {
			return err
		}
		info := result.Info
		facts = Facts{
			Engine:     api.Engine{Reachable: true, Version: info.ServerVersion, APIVersion: s.version, Driver: info.Driver},
			MinimumAPI: MinAPIVersion, OperatingSystem: info.OperatingSystem, Kernel: info.KernelVersion, OSType: info.OSType,
			CgroupVersion: info.CgroupVersion, CgroupDriver: info.CgroupDriver,
			MemoryLimit: info.MemoryLimit, CPULimit: info.CPUCfsQuota, LiveRestore: info.LiveRestoreEnabled, Swarm: s.swarm,
			DataRoot: info.DockerRootDir, DriverStatus: map[string]string{}, SecurityOptions: info.SecurityOptions,
			Warnings: info.Warnings, Asked: asked, CPUs: info.NCPU, Memory: info.MemTotal,
		}
		for _, pair := range info.DriverStatus {
			facts.DriverStatus[pair[0]] = pair[1]
		}
		if clock, err := time.Parse(time.RFC3339Nano, info.SystemTime); err == nil {
			facts.Clock = clock
		}
		return nil
	})
	return facts, err
}
