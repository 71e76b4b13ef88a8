package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/agent"
)

func readConfig(t *testing.T, secrets string) (agent.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	text := "node: b\nsource: {dir: {path: /srv}}\nsecrets:\n" + secrets
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return agent.ReadConfig(path)
}

func TestSecretsConfig(t *testing.T) {
	cfg, err := readConfig(t, `
  connect: {url: "https://connect.home:8443", caFile: /etc/ktrdr/ca.pem, tokenFile: /etc/ktrdr/connect-token}
  dotenv: {file: /etc/ktrdr/secrets.env}
  refresh: 30s
`)
	if err != nil || cfg.Secrets.Connect.URL != "https://connect.home:8443" || cfg.Secrets.Connect.TokenFile != "/etc/ktrdr/connect-token" {
		t.Errorf("%+v, %v", cfg.Secrets.Connect, err)
	}
}

// All problems are told at once, each with its key.
func TestSecretsConfigProblems(t *testing.T) {
	for text, wants := range map[string][]string{
		`
  connect: {url: "http://connect.home", tokenFile: token, tokenEnv: X}
  dotenv: {file: secrets.env}
  refresh: 1ms
`: {
			"secrets.refresh: 1ms", `secrets.dotenv.file: "secrets.env"`, "secrets.connect.url: http to connect.home", "secrets.connect.tokenEnv: set only one",
		},
		"  keyVault: {auth: magic, domain: x}\n": {"secrets.keyVault.auth: write managedIdentity or environment", "secrets.keyVault.domain: "},
		`
  connect: {url: "https://h", tokenFile: /t}
  keyVault: {}
  dotenv: {file: /e}
`: {"secrets.dotenv: has nothing to serve"},
		"  connect: {}\n": {"secrets.connect.url: must be", "secrets.connect.tokenFile: set one of"},
		"  connect: {url: \"https://h\", token: hunter2}\n": {"token"},
	} {
		_, err := readConfig(t, text)
		if err == nil {
			t.Errorf("%s was accepted", text)
			continue
		}
		for _, want := range wants {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("no %q in %v", want, err)
			}
		}
	}
}
