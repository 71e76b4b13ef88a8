package policy_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/internal/policy"
	"ktrdr.io/fleet/pkg/api"
)

func TestParseErrors(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"unknown key": {"references: []\nimage: []\n", []string{
			`p.yaml:2:1: unknown key "image": use adopt, containers, hostPaths, images, privileges, references, registrars, registries`,
		}},
		"unknown privilege": {"privileges:\n  root: true\n", []string{`p.yaml:2:3: privileges: unknown key "root": use annotations, capabilities,`}},
		"twice":             {"images: []\nimages: []\n", []string{`p.yaml:2:1: key "images" is there twice`}},
		"no list":           {"images: redis\nregistries:\n", []string{"p.yaml:1:9: images: must be a list", "p.yaml:2:12: registries: must be a list"}},
		"no text":           {"registries: [5000, null, {a: b}, '', ' x']\n", []string{"p.yaml:1:14: registries: must be a list of texts", "p.yaml:1:20:", "p.yaml:1:26:", "p.yaml:1:34: registries: an entry must not be empty", "p.yaml:1:38:"}},
		"image":             {"images: [redis, '*', 'grafana/grafana']\n", []string{"p.yaml:1:10: images: must begin with the registry", "p.yaml:1:17:", "p.yaml:1:22:"}},
		"reference":         {"references:\n  - vault/item/field\n", []string{"p.yaml:2:5: references: must begin with op:// or akv://"}},
		"registry":          {"registries: [https://ghcr.io]\n", []string{"p.yaml:1:14: registries: must be a host"}},
		"host path": {"hostPaths:\n  - path: mnt\n  - path: /mnt/../etc\n  - {writable: true}\n  - /mnt\n  - path: /a*\n", []string{
			"p.yaml:2:11: hostPaths.path: must be an absolute path", "p.yaml:3:11:", "p.yaml:4:5: hostPaths: an entry needs path", "p.yaml:5:5: hostPaths: must be a mapping of path, writable", "p.yaml:6:11:",
		}},
		"flag":       {"privileges: {privileged: 'yes', dockerSocket: 1}\n", []string{"p.yaml:1:26: privileges.privileged: must be true or false", "p.yaml:1:47:"}},
		"namespace":  {"privileges: {hostNamespaces: [net]}\n", []string{"p.yaml:1:31: privileges.hostNamespaces: must be one of cgroup, ipc, network, pid, userns, uts"}},
		"capability": {"privileges: {capabilities: ['*']}\n", []string{"p.yaml:1:29: privileges.capabilities: must be the name of a capability"}},
		"syntax":     {"images: [\nregistries: x\n", []string{"p.yaml:"}},
		"documents":  {"images: []\n---\nimages: []\n", []string{"p.yaml:2:1: a second YAML document"}},
		"scalar":     {"everything\n", []string{"p.yaml:1:1: must be a mapping of adopt, containers"}},
		"alias":      {"images: &x []\nregistries: *x\n", []string{"p.yaml:2:13: registries: must be a list"}},
		"adopt":      {"adopt: [/opt/p, p, 'p:opt', '*:/opt/*', 'p:**']\n", []string{"p.yaml:1:9: adopt: must be a project and a folder", "p.yaml:1:17:", "p.yaml:1:20:"}},
		"registrar": {"registrars: [backend:8000, 'ftp://x/', 'http://x', 'http:///a', 'http://u@x/', 'http://x/?a', 'http://x/a']\n", []string{
			"p.yaml:1:14: registrars: must be a URL with a path", "p.yaml:1:28:", "p.yaml:1:40:", "p.yaml:1:52:", "p.yaml:1:65:", "p.yaml:1:80:",
		}},
		"large": {strings.Repeat("#", policy.MaxSize+1), []string{"p.yaml: larger than"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := policy.Parse("p.yaml", []byte(test.text))
			if p != nil || err == nil {
				t.Fatalf("read %+v, %v", p, err)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(test.want) {
				t.Fatalf("%d problems, want %d:\n%v", len(lines), len(test.want), err)
			}
			for i, want := range test.want {
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("got  %s\nwant %s", lines[i], want)
				}
			}
		})
	}
}

// An empty policy allows nothing, and is valid.
func TestEmptyPolicyAllowsNothing(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "images: []\nprivileges: {}\n"} {
		p := parse(t, text)
		if got := rules(p.Check(stackOf(func(*api.ContainerSpec) {}), policy.Host{})); len(got) != 2 {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// FuzzParse: a file is read or refused with a place; what was read never allows a stack
// that uses everything unless it says so.
func FuzzParse(f *testing.F) {
	f.Add([]byte(base))
	f.Add([]byte("privileges: {privileged: true}\nhostPaths: [{path: /}]\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("images: [\"**:**@**\"]\n"))
	stack := everything()
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := policy.Parse("p", data)
		if (p == nil) == (err == nil) {
			t.Fatal("exactly one of policy and error")
		}
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "p:") {
					t.Fatalf("a problem without a place: %q", line)
				}
			}
			return
		}
		found := p.Check(stack, policy.Host{})
		if diff := cmp.Diff(found, p.Check(stack, policy.Host{})); diff != "" {
			t.Fatalf("two answers to one question: %s", diff)
		}
		if len(found) == 0 && !strings.Contains(string(data), "privileged") {
			t.Fatal("privileged containers are allowed by a policy that does not speak of them")
		}
	})
}

// rootFolder is a folder that only root can write to, and so are those above it.
func rootFolder(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: policy files belong to root")
	}
	return t.TempDir()
}

func TestReadGuardsTheFile(t *testing.T) {
	dir := rootFolder(t)
	name := filepath.Join(dir, "policy.yaml")
	write := func(t *testing.T, mode os.FileMode) {
		t.Helper()
		if err := errors.Join(os.WriteFile(name, []byte(base), 0o600), os.Chmod(name, mode), os.Chown(name, 0, 0), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(want string) func(*testing.T, error) {
		return func(t *testing.T, err error) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
				t.Errorf("error %v, want %q", err, want)
			}
		}
	}
	for title, test := range map[string]struct {
		change func() error
		check  func(*testing.T, error)
	}{
		"as wanted":         {func() error { return nil }, func(t *testing.T, err error) { t.Helper(); fatal(t, err) }},
		"group may write":   {func() error { return os.Chmod(name, 0o664) }, refused("chmod go-w")},
		"others may write":  {func() error { return os.Chmod(name, 0o646) }, refused("chmod go-w")},
		"another owner":     {func() error { return os.Chown(name, 1234, 0) }, refused("chown root")},
		"folder of another": {func() error { return os.Chown(dir, 1234, 0) }, refused("chown root")},
		"open folder":       {func() error { return os.Chmod(dir, 0o777) }, refused("chmod go-w")},
		"a folder":          {func() error { return errors.Join(os.Remove(name), os.Mkdir(name, 0o755)) }, refused("not a regular file")},
		"not there":         {func() error { return os.RemoveAll(name) }, refused("no such file")},
	} {
		t.Run(title, func(t *testing.T) {
			fatal(t, os.RemoveAll(name))
			write(t, 0o644)
			t.Cleanup(func() { _ = os.Chown(dir, 0, 0) })
			fatal(t, test.change())
			_, err := policy.Read(name)
			test.check(t, err)
		})
	}
	t.Run("link", func(t *testing.T) {
		open := filepath.Join(dir, "open")
		target := filepath.Join(open, "policy.yaml")
		fatal(t, errors.Join(os.RemoveAll(name), os.Chmod(dir, 0o755), os.Mkdir(open, 0o777), os.Chmod(open, 0o777), os.WriteFile(target, []byte(base), 0o600), os.Symlink(target, name)))
		_, err := policy.Read(name)
		refused("chmod go-w")(t, err)
		fatal(t, os.Chmod(open, 0o755))
		_, err = policy.Read(name)
		fatal(t, err)
	})
}

func fatal(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
