package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// buildPackages makes the packages of both versions, of programs that are built.
func buildPackages(ctx context.Context) error {
	share := filepath.Join(world.dir, "share.tar.gz")
	if err := runScript(ctx, nil, "ctl-share.sh", program("ktrdrctl"), share); err != nil {
		return err
	}
	// The shim of the next version is another file: containers keep theirs.
	shim, err := os.ReadFile(program("ktrdr-exec"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(newer("ktrdr-exec"), append(shim, '\n'), 0o755); err != nil { //nolint:gosec // a program
		return err
	}
	for _, v := range []string{version, upgraded} {
		dir := filepath.Join(world.dir, "packages", v)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		files := map[string]string{"ktrdrctl_share.tar.gz": share}
		for _, name := range []string{"ktrdr-agent", "ktrdr-exec", "ktrdr-controller", "ktrdrctl"} {
			from := program(name)
			if v == upgraded && name != "ktrdrctl" {
				from = newer(name)
			}
			files[name+"_linux_"+runtime.GOARCH] = from
		}
		for name, from := range files {
			if err := os.Link(from, filepath.Join(dir, name)); err != nil {
				return err
			}
		}
		if err := runScript(ctx, []string{"VERSION=" + v, "DEB_COMPRESSION=gzip"}, "deb.sh", dir, runtime.GOARCH); err != nil {
			return err
		}
	}
	return nil
}

func runScript(ctx context.Context, env []string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(module, "scripts", name), args...) //nolint:gosec // a script of this module
	cmd.Env = append(append(os.Environ(), "SOURCE_DATE_EPOCH=1790000000"), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// debian is what a version is called in a package.
func debian(v string) string { return strings.ReplaceAll(strings.TrimPrefix(v, "v"), "-", "~") }

// packageFile is where a package lies.
func packageFile(v, name string) string {
	return filepath.Join(world.dir, "packages", v, name+"_"+debian(v)+"_"+runtime.GOARCH+".deb")
}

// install installs packages as a user does, over whatever is there, and returns what dpkg says.
func (n *node) install(ctx context.Context, v string, names ...string) (string, error) {
	args := []string{"--install"}
	for _, name := range names {
		to := "/root/" + filepath.Base(packageFile(v, name))
		if err := copyFile(packageFile(v, name), n.Path(to), 0o644); err != nil {
			return "", err
		}
		args = append(args, to)
	}
	return n.Run(ctx, "dpkg", args...)
}

// installed is install that has to work, with what dpkg says of the packages afterwards.
func (n *node) installed(t *testing.T, v string, names ...string) string {
	t.Helper()
	ctx, cancel := contextFor(limit)
	defer cancel()
	said, err := n.install(ctx, v, names...)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if got, want := n.known(name), "installed "+debian(v); got != want {
			t.Errorf("%s: %s of %s is %q, wanted %q", n.name, name, v, got, want)
		}
	}
	return said
}

// known is what dpkg knows of a package: its state and version.
func (n *node) known(name string) string {
	out, err := n.try("dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", name)
	if err != nil {
		return "unknown"
	}
	return out
}

// unit reads a property of a unit.
func (n *node) unit(t *testing.T, name, property string) string {
	t.Helper()
	return n.run(t, "systemctl", "show", "--value", "--property", property, name)
}

// turnedOn is what systemctl says of a unit.
func (n *node) turnedOn(name string) string {
	out, err := n.try("systemctl", "is-enabled", name)
	if err != nil && !strings.Contains(out, "disabled") {
		return "no unit"
	}
	return out
}

// Where agents and controllers keep what no package may take from them.
var (
	agentFiles      = []string{"/etc/ktrdr", "/var/lib/ktrdr/credentials", "/etc/systemd/system/ktrdr-agent.service.d"}                                         //nolint:gochecknoglobals // a table
	controllerFiles = []string{"/etc/ktrdr", authorityDir, stateDir + "/admin.yaml", repositoryDir + "/HEAD", "/etc/systemd/system/ktrdr-controller.service.d"} //nolint:gochecknoglobals // a table
)

// files reads all files below folders of a machine.
func (n *node) files(t *testing.T, paths ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, path := range paths {
		err := filepath.WalkDir(n.Path(path), func(name string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(name) //nolint:gosec // a file of the test's machine
			all[strings.TrimPrefix(name, filepath.Clean(n.Path("/")))] = string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 2 {
		t.Errorf("%s has only %d files below %v: this proves nothing", n.name, len(all), paths)
	}
	return all
}

// keeps fails the test for each file that is not as it was.
func (n *node) keeps(t *testing.T, what string, before map[string]string, paths ...string) {
	t.Helper()
	now := n.files(t, paths...)
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if text, there := now[name]; !there || text != before[name] {
			t.Errorf("%s: %s of %s is another (there: %t)", what, name, n.name, there)
		}
	}
}

// says fails the test when a text lacks one of the words.
func says(t *testing.T, what, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%s does not say %q:\n%s", what, word, text)
		}
	}
}

// TestPackages: they name all that they need, and have what Debian's own checker wants.
func TestPackages(t *testing.T) {
	if world.unavailable != nil {
		t.Skipf("SKIPPED: no packages were built: %v", world.unavailable)
	}
	check := []string{"--allow-root", "--fail-on", "error"}
	for name, needs := range map[string][]string{
		"ktrdr-agent": {"ca-certificates", "docker.io | docker-ce", "systemd"}, "ktrdr-controller": {"ca-certificates", "git", "systemd |"}, "ktrdrctl": {"git"},
	} {
		file := packageFile(version, name)
		check = append(check, file)
		fields, err := exec.CommandContext(t.Context(), "dpkg-deb", "--field", file, "Depends", "Recommends").CombinedOutput() //nolint:gosec // a file of the test
		if err != nil {
			t.Fatalf("%v: %s", err, fields)
		}
		says(t, name, string(fields), needs...)
	}
	lintian, err := exec.LookPath("lintian")
	if err != nil {
		t.Skip("SKIPPED in part: no lintian here, Debian's checker of packages (scripts/packages.sh lintian)")
	}
	if out, err := exec.CommandContext(t.Context(), lintian, check...).CombinedOutput(); err != nil { //nolint:gosec // files of the test
		t.Errorf("lintian: %v\n%s", err, out)
	}
}
