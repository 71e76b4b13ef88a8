// Package packaging_test checks the files that installers take: the systemd unit, the
// example configuration and the image.
package packaging_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent"
	"ktrdr.io/fleet/pkg/controller"
)

func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// TestUnitVerifies lets systemd read the unit. The program is replaced by one that exists.
func TestUnitVerifies(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("SKIPPED: systemd-analyze is not installed, the unit is not verified")
	}
	unit := read(t, "systemd/ktrdr-agent.service")
	replaced := strings.Replace(unit, "ExecStart=/usr/bin/ktrdr-agent ", "ExecStart=/bin/sh ", 1)
	replaced = strings.Replace(replaced, "ExecStartPre=+/usr/bin/ktrdr-agent ", "ExecStartPre=+/bin/sh ", 1)
	if strings.Contains(replaced, "=/usr/bin") || replaced == unit {
		t.Fatal("the unit starts something else than /usr/bin/ktrdr-agent")
	}
	verify := func(text string) string {
		file := filepath.Join(t.TempDir(), "ktrdr-agent.service")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", "--recursive-errors=no", file).CombinedOutput()
		if err != nil {
			return fmt.Sprintf("%v\n%s", err, out)
		}
		return string(out)
	}
	if problems := verify(replaced); problems != "" {
		t.Errorf("systemd-analyze: %s", problems)
	}
	if verify(strings.Replace(replaced, "MemoryMax=", "MemoryMux=", 1)) == "" {
		t.Error("systemd-analyze finds no fault in a unit with one: this test proves nothing")
	}
}

// TestUnitPromises holds what the design rests on.
func TestUnitPromises(t *testing.T) {
	lines := map[string]bool{}
	for line := range strings.Lines(read(t, "systemd/ktrdr-agent.service")) {
		lines[strings.TrimSpace(line)] = true
		if strings.HasPrefix(line, "Requires=") || strings.HasPrefix(line, "BindsTo=") || strings.HasPrefix(line, "PartOf=") {
			t.Errorf("%s: the engine must be able to restart without the agent", strings.TrimSpace(line))
		}
	}
	for _, want := range []string{
		"Type=notify", "Restart=always", "RestartPreventExitStatus=78", "WatchdogSec=60s", "MemoryMax=128M", "LimitCORE=0", "NoNewPrivileges=yes", "ProtectSystem=strict",
		"ConditionPathExists=/etc/ktrdr/agent.yaml", "StateDirectory=ktrdr", "RuntimeDirectory=ktrdr", "RuntimeDirectoryPreserve=yes",
		"ExecStartPre=+/usr/bin/ktrdr-agent prepare --config /etc/ktrdr/agent.yaml", "ExecReload=/bin/kill -HUP $MAINPID",
		"ExecStart=/usr/bin/ktrdr-agent run --config /etc/ktrdr/agent.yaml", "After=network-online.target remote-fs.target docker.service",
	} {
		if !lines[want] {
			t.Errorf("no line %s", want)
		}
	}
}

// TestExampleConfiguration reads the example as the agent does, and wants it to name every
// key there is.
func TestExampleConfiguration(t *testing.T) {
	cfg, err := agent.ReadConfig("agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Node != "b" || cfg.Source.Git == nil {
		t.Errorf("read %+v", cfg)
	}
	example := read(t, "agent.yaml")
	for _, key := range keys(reflect.TypeFor[agent.Config]()) {
		if !regexp.MustCompile(`(?m)^[# ]*` + key + `:( |$)`).MatchString(example) {
			t.Errorf("the example does not name %s", key)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^#? +#? *([a-z][A-Za-z]*):(?: |$)`).FindAllStringSubmatch(example, -1) {
		if !slices.Contains(keys(reflect.TypeFor[agent.Config]()), m[1]) && !strings.Contains(m[0], "For ") {
			t.Errorf("the example names %s, which is no key", m[1])
		}
	}
}

// keys are the YAML names of all fields, at all levels.
func keys(typ reflect.Type) []string {
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct {
		return nil
	}
	var list []string
	for field := range typ.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		list = append(append(list, name), keys(field.Type)...)
	}
	return list
}

// TestControllerUnit lets systemd read the controller's unit, and holds what it promises.
func TestControllerUnit(t *testing.T) {
	unit := read(t, "systemd/ktrdr-controller.service")
	for _, want := range []string{
		"Type=notify", "Restart=always", "RestartPreventExitStatus=78", "User=ktrdr-controller", "StateDirectory=ktrdr-controller", "StateDirectoryMode=0700", "CapabilityBoundingSet=",
		"NoNewPrivileges=yes", "ProtectSystem=strict", "ExecStart=/usr/bin/ktrdr-controller run", "ExecReload=/bin/kill -HUP $MAINPID",
	} {
		if !strings.Contains(unit, "\n"+want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("SKIPPED: systemd-analyze is not installed, the unit is not verified")
	}
	replaced := strings.NewReplacer("/usr/bin/ktrdr-controller", "/bin/sh", "User=ktrdr-controller", "User=root", "Group=ktrdr-controller", "Group=root").Replace(unit)
	file := filepath.Join(t.TempDir(), "ktrdr-controller.service")
	if err := os.WriteFile(file, []byte(replaced), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := must(t, command(t, analyze, "verify", "--man=no", "--recursive-errors=no", file)); out != "" {
		t.Errorf("systemd-analyze: %s", out)
	}
}

// TestExampleOfController reads the example as the controller does.
func TestExampleOfController(t *testing.T) {
	cfg, err := controller.ReadConfig("controller.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := controller.Default()
	want.Etcd.Embedded, want.Repository.Hosted = &controller.EmbeddedConfig{}, &controller.HostedConfig{Branch: "main"}
	if diff := cmp.Diff(want, cfg); diff != "" {
		t.Errorf("the example is not the default (-default +example):\n%s", diff)
	}
}

// TestImage builds the image and asks it for its version.
func TestImage(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program and an image")
	}
	docker, err := exec.LookPath("docker")
	if err != nil || exec.CommandContext(t.Context(), docker, "version").Run() != nil {
		t.Skip("SKIPPED: no engine or no docker client, the image is not built")
	}
	const tag = "ktrdr-packaging-test:latest"
	dir := t.TempDir()
	build := command(t, "go", "build", "-trimpath", "-o", filepath.Join(dir, "ktrdr-agent"), "../cmd/agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	must(t, build)
	shim := command(t, "go", "build", "-trimpath", "-o", filepath.Join(dir, "ktrdr-exec"), "../cmd/exec")
	shim.Env = build.Env
	must(t, shim)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		_ = exec.CommandContext(ctx, docker, "rmi", "-f", tag).Run()
	})
	must(t, command(t, docker, "build", "-q", "-f", "../Dockerfile.agent", "-t", tag, dir))
	out := must(t, command(t, docker, "run", "--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", tag, "version"))
	if !strings.HasPrefix(out, "dev") {
		t.Errorf("the image says %q", out)
	}
}

func command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), name, args...)
}

func must(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}
