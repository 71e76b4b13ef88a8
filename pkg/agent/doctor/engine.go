package doctor

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// engine asks the engine about itself and its machine.
func (c *Config) engine(ctx context.Context, _ Request, emit func(api.Check)) {
	if c.Engine == nil {
		return
	}
	facts, err := c.Engine.Facts(ctx)
	if err != nil {
		emit(fixed(row("engine-reachable", "", api.CheckFail, "%v", err),
			"start the engine (systemctl start docker), and look at engine.host in the agent's configuration"))
		return
	}
	emit(row("engine-reachable", "", api.CheckOK, "%s on %s, kernel %s", facts.Engine.Version, facts.OperatingSystem, facts.Kernel))
	for _, check := range []func(engine.Facts) api.Check{
		engineVersion, storageDriver, cgroups, limits, liveRestore, swarm, virtualisation, engineClock,
	} {
		emit(check(facts))
	}
	for _, w := range facts.Warnings {
		emit(fixed(row("engine-warning", "", api.CheckWarn, "%s", w), "the engine itself warns of this; its documentation tells what to change"))
	}
}

// oldEngine is the first major version that gets no fixes any more. Source: endoflife of
// docker engine, Debian 12 keeps 20.10 patched.
const oldEngine = 20

func engineVersion(f engine.Facts) api.Check {
	text := fmt.Sprintf("%s, API %s (at least %s is needed)", f.Engine.Version, f.Engine.APIVersion, f.MinimumAPI)
	major, _, _ := strings.Cut(f.Engine.Version, ".")
	if n, err := strconv.Atoi(major); err == nil && n < oldEngine {
		return fixed(row("engine-version", "", api.CheckWarn, "%s", text), "upgrade the engine: it gets no fixes any more")
	}
	return row("engine-version", "", api.CheckOK, "%s", text)
}

func storageDriver(f engine.Facts) api.Check {
	text := f.Engine.Driver
	if backing := f.DriverStatus["Backing Filesystem"]; backing != "" {
		text += " on " + backing
	}
	switch f.Engine.Driver {
	case "overlay2", "overlayfs", "btrfs", "zfs":
		return row("storage-driver", f.DataRoot, api.CheckOK, "%s", text)
	case "fuse-overlayfs":
		return fixed(row("storage-driver", f.DataRoot, api.CheckWarn, "%s is slow", text),
			"let the container of the machine use overlay: privileged, or a kernel from 5.13 on with user namespaces")
	case "vfs":
		return fixed(row("storage-driver", f.DataRoot, api.CheckWarn, "%s copies each image for each container: slow, and the disk fills up", text),
			"use overlay2: on ZFS below an LXC, give /var/lib/docker an ext4 volume of its own")
	}
	return fixed(row("storage-driver", f.DataRoot, api.CheckWarn, "%s is not one that is in wide use", text), "use overlay2")
}

func cgroups(f engine.Facts) api.Check {
	text := "version " + f.CgroupVersion + ", driver " + f.CgroupDriver
	if f.CgroupVersion == "" || f.CgroupDriver == "none" {
		return fixed(row("cgroups", "", api.CheckFail, "%s: containers can't be limited", text),
			"mount the cgroup file system (in an LXC: nesting=1), then restart the engine")
	}
	return row("cgroups", "", api.CheckOK, "%s", text)
}

func limits(f engine.Facts) api.Check {
	var missing []string
	if !f.MemoryLimit {
		missing = append(missing, "memory")
	}
	if !f.CPULimit {
		missing = append(missing, "CPU")
	}
	if len(missing) > 0 {
		return fixed(row("limits", "", api.CheckWarn, "the engine can't limit %s of containers", strings.Join(missing, " and ")),
			"enable the cgroup controllers on the host, or remove the limits from the Compose files: containers with them fail to start")
	}
	return row("limits", "", api.CheckOK, "memory and CPU can be limited; %d CPUs, %s of memory", f.CPUs, api.ByteSize(f.Memory))
}

func liveRestore(f engine.Facts) api.Check {
	if f.LiveRestore {
		return row("live-restore", "", api.CheckOK, "containers outlive a restart of the engine")
	}
	return fixed(row("live-restore", "", api.CheckWarn, "a restart or upgrade of the engine stops all containers"),
		`set "live-restore": true in /etc/docker/daemon.json, then systemctl reload docker`)
}

func swarm(f engine.Facts) api.Check {
	if f.Swarm {
		return fixed(row("swarm", "", api.CheckWarn, "the engine is a node of a swarm, which may change containers too"), "docker swarm leave, unless you need it")
	}
	return row("swarm", "", api.CheckOK, "not in a swarm")
}

// virtualisation tells where the node runs: most surprises come from an LXC.
func virtualisation(f engine.Facts) api.Check {
	kind := machineKind()
	apparmor := slices.ContainsFunc(f.SecurityOptions, func(o string) bool { return strings.Contains(o, "apparmor") })
	if kind != "lxc" {
		return row("machine", kind, api.CheckOK, "%s", f.OperatingSystem)
	}
	if _, err := os.Stat("/proc/sys/net/ipv4/ip_forward"); err != nil {
		return fixed(row("machine", kind, api.CheckFail, "an LXC without /proc/sys/net: containers get no network"), "allow nesting: pct set ID --features nesting=1,keyctl=1")
	}
	text := "an LXC; --canary proves that nesting works"
	if apparmor {
		return fixed(row("machine", kind, api.CheckWarn, "%s; the engine loads AppArmor profiles, which an LXC often refuses", text),
			"if containers fail with 'apparmor', set security_opt: [apparmor:unconfined] or lxc.apparmor.profile = unconfined")
	}
	return row("machine", kind, api.CheckOK, "%s", text)
}

// machineKind is "lxc", "docker" or "host". Source: systemd's container interface.
func machineKind() string {
	for _, path := range []string{"/run/systemd/container", "/run/host/container-manager"} {
		if data, err := os.ReadFile(path); err == nil { //nolint:gosec // one of two constants
			return strings.TrimSpace(string(data))
		}
	}
	if _, err := os.Stat("/.dockerenv"); err == nil {
		return "docker"
	}
	return "host"
}

// OwnNetwork tells whether this process runs in a container that does not share the
// engine's network: the bridge of the engine is not there.
func OwnNetwork() bool {
	if machineKind() != "docker" {
		return false
	}
	_, err := net.InterfaceByName("docker0")
	return err != nil
}

// maxSkew is how far two clocks of one machine may be apart.
const maxSkew = 5 * time.Second

func engineClock(f engine.Facts) api.Check {
	if f.Clock.IsZero() {
		return row("engine-clock", "", api.CheckSkip, "the engine does not tell its time")
	}
	skew := f.Clock.Sub(f.Asked).Abs()
	if skew > maxSkew {
		return fixed(row("engine-clock", "", api.CheckFail, "engine and agent differ by %s", skew.Round(time.Second)),
			"is engine.host another machine? The agent belongs on the engine's own")
	}
	return row("engine-clock", "", api.CheckOK, "the same as the agent's")
}
