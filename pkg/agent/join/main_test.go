package join_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/goccy/go-yaml"

	"ktrdr.io/fleet/pkg/agent/join"
	"ktrdr.io/fleet/pkg/agent/uplink/uplinktest"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/wire/pki"
	"ktrdr.io/fleet/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

// machine is a root folder of its own, with a systemctl that writes down what it was told.
type machine struct {
	root, config, credentials string
	out                       bytes.Buffer
	engine                    error
}

const unit = "[Service]\nExecStart=/bin/true\n"

func newMachine(t *testing.T) *machine {
	t.Helper()
	root := t.TempDir()
	m := &machine{root: root, config: filepath.Join(root, "etc/ktrdr/agent.yaml"), credentials: filepath.Join(root, "var/lib/ktrdr/credentials")}
	m.put(t, "run/systemd/system/x", "")
	m.put(t, "systemctl", "#!/bin/sh\necho \"$@\" >> "+root+"/told\n[ ! -e "+root+"/broken ] || { echo it is broken; exit 1; }\n")
	if err := os.Chmod(filepath.Join(root, "systemctl"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	return m
}

func (m *machine) put(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the test's own
		t.Fatal(err)
	}
	syscall.ForkLock.RLock() // a program that starts while it is written would keep it from being run
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) get(name string) string {
	data, err := os.ReadFile(filepath.Join(m.root, name))
	if err != nil {
		return ""
	}
	return string(data)
}

func (m *machine) system() join.System {
	return join.Systemd{Unit: unit, Root: m.root, Systemctl: filepath.Join(m.root, "systemctl")}
}

// file is as much of a configuration as these tests need.
type file struct {
	Node     string `yaml:"node"`
	StateDir string `yaml:"stateDir"`
	Source   struct {
		Git        map[string]string `yaml:"git"`
		Controller *struct {
			Endpoints      []string `yaml:"endpoints"`
			CredentialsDir string   `yaml:"credentialsDir"`
		} `yaml:"controller"`
	} `yaml:"source"`
	Log map[string]string `yaml:"log"`
}

func (m *machine) read(path string) (join.Settings, error) {
	s := join.Settings{StateDir: filepath.Join(m.root, "var/lib/ktrdr"), CredentialsDir: m.credentials}
	data, err := os.ReadFile(path) //nolint:gosec // the test's own
	if err != nil {
		return s, err
	}
	var f file
	if err := yaml.UnmarshalWithOptions(data, &f, yaml.Strict()); err != nil {
		return s, err
	}
	s.Node, s.Source = f.Node, "git"
	if f.Source.Controller != nil {
		s.Source, s.Endpoints = "a controller", f.Source.Controller.Endpoints
	}
	return s, nil
}

func (m *machine) request(c *uplinktest.Controller, token string) join.Request {
	return join.Request{
		Controller: "https://" + c.Addr, Token: token, ConfigFile: m.config, Read: m.read, System: m.system(), Out: &m.out,
		Engine: func(context.Context) (api.Engine, error) { return api.Engine{Version: "20.10"}, m.engine },
	}
}

// enrolled tells whether there is a certificate of a node.
func (m *machine) enrolled(t *testing.T, node string) bool {
	t.Helper()
	if _, err := os.Stat(m.credentials); errors.Is(err, fs.ErrNotExist) {
		return false
	}
	store, err := pki.OpenKeyStore(m.credentials)
	if err != nil {
		t.Fatal(err)
	}
	c, err := store.Load()
	return err == nil && c.Identity.Name == node
}

func token(t *testing.T, c *uplinktest.Controller, node string) string {
	t.Helper()
	made, err := c.Authority.NewJoinToken(node)
	if err != nil {
		t.Fatal(err)
	}
	return made.Text() + "\n"
}

// names wants all parts in an error, and not the token's secret.
func names(t *testing.T, err error, token string, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q, want %q in it", err, part)
		}
	}
	if secret := strings.Split(token, "."); len(secret) > 2 && strings.Contains(err.Error(), secret[2]) {
		t.Error("the error has the token's secret")
	}
}
