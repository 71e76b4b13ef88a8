package join_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/join"
	"ktrdr.io/fleet/pkg/agent/uplink/uplinktest"
)

func TestJoinsAFreshMachine(t *testing.T) {
	t.Parallel()
	c, m := uplinktest.Start(t), newMachine(t)
	text := token(t, c, "b")
	dry := m.request(c, text)
	dry.DryRun = true
	if err := join.Run(t.Context(), dry); err != nil {
		t.Fatal(err)
	}
	if m.enrolled(t, "b") || m.get("etc/ktrdr/agent.yaml") != "" || m.get("told") != "" {
		t.Error("a dry run changed something")
	}
	if err := join.Run(t.Context(), m.request(c, text)); err != nil {
		t.Fatal(err)
	}
	if !m.enrolled(t, "b") {
		t.Error("there is no certificate")
	}
	settings, err := m.read(m.config)
	if err != nil || settings.Node != "b" || len(settings.Endpoints) != 1 || settings.Endpoints[0] != c.Addr {
		t.Errorf("configuration %+v, %v", settings, err)
	}
	if got := m.get("told"); got != "daemon-reload\nenable ktrdr-agent.service\nrestart ktrdr-agent.service\n" {
		t.Errorf("systemctl was told %q", got)
	}
	if m.get("etc/systemd/system/ktrdr-agent.service") != unit {
		t.Error("the unit is not there")
	}
	for path, mode := range map[string]os.FileMode{"var/lib/ktrdr": 0o711, "var/lib/ktrdr/credentials": 0o700, "var/lib/ktrdr/credentials/identity.pem": 0o600, "etc/ktrdr/agent.yaml": 0o600} {
		if info, err := os.Stat(filepath.Join(m.root, path)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want mode %o", path, info, err, mode)
		}
	}
	before := m.get("etc/ktrdr/agent.yaml")
	if err := join.Run(t.Context(), m.request(c, text)); err != nil {
		t.Fatalf("again with the same token: %v", err)
	}
	if m.get("etc/ktrdr/agent.yaml") != before || !strings.Contains(m.out.String(), "the token is not used") {
		t.Errorf("the second time changed something:\n%s", m.out.String())
	}
	if secret := strings.Split(text, ".")[2]; strings.Contains(m.out.String(), secret) {
		t.Error("the token's secret was printed")
	}
}

// TestJoinsAgainAfterRemoval: a certificate that the controller takes no more is none, and a
// join that leaves it in place would be no success.
func TestJoinsAgainAfterRemoval(t *testing.T) {
	t.Parallel()
	c, m := uplinktest.Start(t), newMachine(t)
	if err := join.Run(t.Context(), m.request(c, token(t, c, "b"))); err != nil {
		t.Fatal(err)
	}
	before := m.get("var/lib/ktrdr/credentials/identity.pem")
	c.Remove("b")
	used := token(t, c, "b")
	if err := join.Run(t.Context(), m.request(c, used)); err != nil {
		t.Fatal(err)
	}
	if m.get("var/lib/ktrdr/credentials/identity.pem") == before || !strings.Contains(m.out.String(), "does not accept it any more") {
		t.Errorf("the certificate that was refused is still there:\n%s", m.out.String())
	}
}

const gitConfig = `# of b
node: b
# where from
source:
  git:
    url: https://git.example/x.git

    branch: main
# how it logs
log:
  level: debug
`

func TestReplacesASourceOnlyByForce(t *testing.T) {
	t.Parallel()
	c, m := uplinktest.Start(t), newMachine(t)
	m.put(t, "etc/ktrdr/agent.yaml", gitConfig)
	m.put(t, "usr/lib/systemd/system/ktrdr-agent.service", "of the package")
	text := token(t, c, "b")
	names(t, join.Run(t.Context(), m.request(c, text)), text, "--force", "git")
	if m.get("etc/ktrdr/agent.yaml") != gitConfig || m.enrolled(t, "b") {
		t.Error("a refusal changed something")
	}
	forced := m.request(c, text)
	forced.Force = true
	if err := join.Run(t.Context(), forced); err != nil {
		t.Fatal(err)
	}
	got := m.get("etc/ktrdr/agent.yaml")
	want := "# of b\nnode: 'b'\n# where from\nsource:\n  controller:\n    endpoints:\n      - '" + c.Addr + "'\n    credentialsDir: '" + m.credentials + "'\n\n# how it logs\nlog:\n  level: debug\n"
	if got != want {
		t.Errorf("configuration:\n%s\nwant:\n%s", got, want)
	}
	copies, err := filepath.Glob(m.config + ".before-*")
	if err != nil || len(copies) != 1 {
		t.Errorf("copies of the configuration: %v, %v", copies, err)
	}
	if m.get("etc/systemd/system/ktrdr-agent.service") != "" {
		t.Error("the unit of a package was overridden")
	}
}

// TestFailuresLeaveNothingBehind: each failure says what to do, and the machine is as it was.
func TestFailuresLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		harm func(*testing.T, *uplinktest.Controller, *machine, *join.Request)
		want []string
	}{
		"damaged token": {func(_ *testing.T, _ *uplinktest.Controller, _ *machine, r *join.Request) { r.Token = r.Token[:40] }, []string{"join-token"}},
		"address":       {func(_ *testing.T, _ *uplinktest.Controller, _ *machine, r *join.Request) { r.Controller = "http://x:1" }, []string{"https://host:port"}},
		"nobody there":  {func(_ *testing.T, c *uplinktest.Controller, _ *machine, _ *join.Request) { c.Down() }, []string{"can't be reached", "firewall"}},
		"another fleet": {func(t *testing.T, _ *uplinktest.Controller, _ *machine, r *join.Request) {
			t.Helper()
			r.Token = token(t, uplinktest.Start(t), "b")
		}, []string{"not the controller that made the token"}},
		"clock": {func(_ *testing.T, c *uplinktest.Controller, _ *machine, _ *join.Request) {
			c.SetSkew(-10 * time.Minute)
		}, []string{"clock", "timedatectl"}},
		"engine": {func(_ *testing.T, _ *uplinktest.Controller, m *machine, _ *join.Request) {
			m.engine = errors.New("refused")
		}, []string{"systemctl status docker", "refused"}},
		"no system": {func(_ *testing.T, _ *uplinktest.Controller, m *machine, _ *join.Request) {
			_ = os.RemoveAll(m.root + "/run")
		}, []string{"systemd does not run"}},
		"bad config": {func(t *testing.T, _ *uplinktest.Controller, m *machine, _ *join.Request) {
			t.Helper()
			m.put(t, "etc/ktrdr/agent.yaml", "nodes: b\n")
		}, []string{"correct it first"}},
		"another node": {func(t *testing.T, _ *uplinktest.Controller, m *machine, _ *join.Request) {
			t.Helper()
			m.put(t, "etc/ktrdr/agent.yaml", "node: c\n")
		}, []string{"node c", "--force"}},
		"used token": {func(t *testing.T, c *uplinktest.Controller, _ *machine, r *join.Request) {
			t.Helper()
			other := newMachine(t)
			if err := join.Run(t.Context(), other.request(c, r.Token)); err != nil {
				t.Fatal(err)
			}
		}, []string{"ask for a new one", "used already"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, m := uplinktest.Start(t), newMachine(t)
			request := m.request(c, token(t, c, "b"))
			test.harm(t, c, m, &request)
			before := m.get("etc/ktrdr/agent.yaml")
			names(t, join.Run(t.Context(), request), request.Token, test.want...)
			if m.enrolled(t, "b") || m.get("etc/ktrdr/agent.yaml") != before || m.get("told") != "" {
				t.Error("something was changed")
			}
		})
	}
}

// TestGoesOnAfterAFailure: an agent that does not start is mended by a second run, which
// needs no second token.
func TestGoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	c, m := uplinktest.Start(t), newMachine(t)
	text := token(t, c, "b")
	m.put(t, "broken", "")
	names(t, join.Run(t.Context(), m.request(c, text)), text, "journalctl", "it is broken")
	if err := os.Remove(filepath.Join(m.root, "broken")); err != nil {
		t.Fatal(err)
	}
	if err := join.Run(t.Context(), m.request(c, text)); err != nil {
		t.Fatal(err)
	}
}

func TestLeaves(t *testing.T) {
	t.Parallel()
	c, m := uplinktest.Start(t), newMachine(t)
	if err := join.Run(t.Context(), m.request(c, token(t, c, "b"))); err != nil {
		t.Fatal(err)
	}
	leave := join.Departure{CredentialsDir: m.credentials, ConfigFile: m.config, System: m.system(), Out: &m.out}
	m.put(t, "broken", "")
	if err := join.Leave(t.Context(), leave); err == nil || !m.enrolled(t, "b") {
		t.Errorf("an agent that does not stop: %v", err)
	}
	if err := os.Remove(filepath.Join(m.root, "broken")); err != nil {
		t.Fatal(err)
	}
	if err := join.Leave(t.Context(), leave); err != nil {
		t.Fatal(err)
	}
	if m.enrolled(t, "b") || m.get("etc/systemd/system/ktrdr-agent.service") != "" || m.get("etc/ktrdr/agent.yaml") == "" {
		t.Error("not left, or too much was removed")
	}
	if !strings.Contains(m.get("told"), "disable --now ktrdr-agent.service") {
		t.Errorf("systemctl was told %q", m.get("told"))
	}
	if err := join.Run(t.Context(), m.request(c, token(t, c, "b"))); err != nil {
		t.Errorf("join again: %v", err)
	}
}
