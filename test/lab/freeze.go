package lab

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Freeze stops every process of the machine, as a hung host does, and waits until the last one
// has stopped.
func (m *Machine) Freeze() error {
	if err := setFreezer(m.Dir, frozen); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), haltLimit)
	defer cancel()
	return wait(ctx, "the stop of all processes of "+m.opts.Name, func() bool { return isFrozen(m.Dir) })
}

// Thaw lets them go on.
func (m *Machine) Thaw() error { return setFreezer(m.Dir, thawed) }

// What setFreezer makes of the processes of a machine.
const (
	frozen = "FROZEN"
	thawed = "THAWED"
)

// Files of the freezer of cgroup v1, and of v2, below /sys/fs/cgroup.
func freezerV1(dir string) string {
	return filepath.Join("/sys/fs/cgroup/freezer", filepath.Base(dir), "payload/freezer.state")
}

func freezerV2(dir, file string) string {
	return filepath.Join("/sys/fs/cgroup", filepath.Base(dir), "payload", file)
}

// setFreezer asks for a state; processes are FREEZING for a while.
func setFreezer(dir, state string) error {
	if v1 := freezerV1(dir); exists(v1) {
		return os.WriteFile(v1, []byte(state), 0o600)
	}
	v2 := freezerV2(dir, "cgroup.freeze")
	if state == frozen {
		return os.WriteFile(v2, []byte("1"), 0o600)
	}
	return os.WriteFile(v2, []byte("0"), 0o600)
}

// isFrozen tells whether all processes have stopped.
func isFrozen(dir string) bool {
	if v1 := freezerV1(dir); exists(v1) {
		state, err := os.ReadFile(v1) //nolint:gosec // a file of the kernel
		return err == nil && strings.TrimSpace(string(state)) == frozen
	}
	events, err := os.ReadFile(freezerV2(dir, "cgroup.events"))
	return err == nil && slices.Contains(strings.Split(string(events), "\n"), "frozen 1")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
