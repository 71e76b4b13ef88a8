package connect_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ktrdr.io/fleet/test/connect"
)

const sample = `vaults:
  - name: KTRDR Homelab Secrets
    items:
      - title: ktrdr-homelab-core
        fields:
          - {label: db_username, type: STRING, value: ktrdr}
          - {label: db_password, value: one}
        files:
          - {name: ca.pem, content: PEM}
      - title: other
        fields:
          - {label: x, value: y}
`

func TestFixture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vaults.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(sample)
	var d connect.Data
	if err := d.Load(path); err != nil {
		t.Fatal(err)
	}
	vault := d.Vaults()[0]
	items, err := d.Items(vault.ID)
	if err != nil || len(items) != 2 || items[0].Fields[1].Value != "one" || string(items[0].Files[0].Content) != "PEM" {
		t.Fatalf("items %+v, %v", items, err)
	}
	id := items[0].Fields[1].ID
	write(strings.Replace(sample, "value: one", "value: two", 1))
	if err := d.Reload(path); err != nil {
		t.Fatal(err)
	}
	items, _ = d.Items(vault.ID)
	if f := items[0].Fields[1]; f.Value != "two" || f.ID != id || items[0].Version != 2 || items[1].Version != 1 {
		t.Errorf("after a change: %+v", items)
	}
	if got := d.Vaults()[0]; got.ContentVersion != vault.ContentVersion+1 {
		t.Errorf("content version %d, was %d", got.ContentVersion, vault.ContentVersion)
	}
	write("vaults: [{nam: x}]")
	if err := d.Reload(path); err == nil || !strings.Contains(err.Error(), "nam") {
		t.Errorf("an unknown key gave %v", err)
	}
}
