package lab_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/test/lab"
	"ktrdr.io/fleet/test/look"
)

// boot makes a machine on a network of its own.
func boot(t *testing.T, opts lab.MachineOptions) (*lab.Network, *lab.Machine) {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: -short: a machine takes seconds")
	}
	fail := func(err error) {
		t.Helper()
		if errors.Is(err, lab.ErrUnavailable) {
			t.Skipf("SKIPPED: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	opts.Root, err = lab.Root(t.Context(), "../..")
	fail(err)
	network, err := lab.NewNetwork(t.Context())
	fail(err)
	closing := func(end func() error) {
		t.Cleanup(func() {
			if err := end(); err != nil {
				t.Error(err)
			}
		})
	}
	closing(network.Close)
	machine, err := network.Boot(t.Context(), opts)
	fail(err)
	closing(machine.Close)
	return network, machine
}

// TestMachine: a machine boots, is on the network, goes through power loss, reboot and a
// freeze with its disk kept, and nothing of it is left.
func TestMachine(t *testing.T) {
	network, m := boot(t, lab.MachineOptions{Name: "node-t", DiskMB: 128})
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := m.Run(t.Context(), name, args...)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	if got := run("hostname"); got != "node-t" {
		t.Errorf("host name %q", got)
	}
	if got := run("systemctl", "is-system-running", "--wait"); got != "running" {
		t.Errorf("the system is %s: %s", got, run("systemctl", "--failed", "--no-pager"))
	}
	carries := func() bool {
		return network.Command(t.Context(), "ping", "-c", "1", "-W", "1", m.Address).Run() == nil
	}
	// The kernel looks at its links once a second.
	soon := func() bool { return look.Until(t.Context(), time.Minute, time.Millisecond, carries) == nil }
	if _, err := exec.LookPath("ping"); err == nil {
		if !soon() {
			t.Error("not on the network")
		}
		if err := m.Cut(t.Context()); err != nil || carries() {
			t.Errorf("a cut cable still carries (%v)", err)
		}
		if err := m.Mend(t.Context()); err != nil || !soon() {
			t.Errorf("a mended cable does not carry (%v)", err)
		}
	}
	run("sh", "-c", "echo kept >/root/kept; echo lost >/run/lost; sync")
	before := m.PID()
	if err := m.PowerLoss(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.PowerOn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := run("sh", "-c", "cat /root/kept; ls /run/lost 2>&1 || true"); !strings.HasPrefix(got, "kept") || !strings.Contains(got, "No such file") || m.PID() == before {
		t.Errorf("after a power loss: %s", got)
	}
	if err := m.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := m.Thaw(); err != nil {
		t.Fatal(err)
	}
	if err := m.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.PowerOn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if left := leftovers(t, m.Dir); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// TestSweepMachine: a machine and its network are found and removed when their owner is
// gone, even frozen.
func TestSweepMachine(t *testing.T) {
	_, m := boot(t, lab.MachineOptions{Name: "node-s", DiskMB: 64})
	if err := m.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.Dir, "owner"), []byte("1 0"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := lab.Sweep(); err != nil {
		t.Fatal(err)
	}
	if left := leftovers(t, m.Dir); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}
