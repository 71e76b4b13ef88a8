package controller_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/controller"
)

func TestConfig(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"empty":               {"", ""},
		"comments":            {"# listen: :8443\n", ""},
		"unknown key":         {"listne: :8443\n", `unknown field "listne"`},
		"bad address":         {"listen: 8443\n", `listen: "8443": write host:port or :port`},
		"bad name":            {"names: [a_b]\n", `names[0]: "a_b" is no host name`},
		"no address":          {"ips: [\"0.0.0.0\"]\n", `ips[0]: "0.0.0.0" is no address that others can reach`},
		"bad endpoint":        {"advertise: [host]\n", `advertise[0]: "host": write host:port`},
		"relative state":      {"stateDir: state\n", `stateDir: "state" must be an absolute path`},
		"two stores":          {"etcd: {embedded: {}, external: {endpoints: [\"https://e:2379\"]}}\n", "set only one of etcd.embedded and etcd.external"},
		"plain etcd":          {"etcd: {external: {endpoints: [\"http://e:2379\"]}}\nrepository: {follow: {url: \"https://g/r\"}}\n", "use https"},
		"hosted and external": {"etcd: {external: {endpoints: [\"https://e:2379\"]}}\n", "so there can be one controller"},
		"two repositories":    {"repository: {hosted: {}, follow: {url: \"https://g/r\"}}\n", "set only one of repository.hosted and repository.follow"},
		"no url":              {"repository: {follow: {branch: main}}\n", "repository.follow.url: required"},
		"too often":           {"repository: {follow: {url: \"https://g/r\", pollInterval: 10ms}}\n", "pollInterval: 10ms is less than 1s"},
		"relative secret":     {"repository: {follow: {url: \"https://g/r\", webhookSecretFile: s}}\n", "webhookSecretFile"},
		"several controllers": {"etcd: {external: {endpoints: [\"https://e:2379\"]}}\nrepository: {follow: {url: \"https://g/r\", pollInterval: 30s}}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "controller.yaml")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := controller.ReadConfig(file)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
