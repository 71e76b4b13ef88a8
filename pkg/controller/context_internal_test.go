package controller

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"

	"ktrdr.io/fleet/pkg/wire/pki"
)

// TestContextHasEachControllerOnce, this one first, whatever advertise says: ktrdrctl refuses two of the same.
func TestContextHasEachControllerOnce(t *testing.T) {
	authority, err := pki.Create(filepath.Join(t.TempDir(), "pki"))
	if err != nil {
		t.Fatal(err)
	}
	token := pki.NewOperatorToken()
	cfg := Default()
	cfg.Address, cfg.Advertise = "c1:8443", []string{"c2:8443", "c1:8443", "c2:8443", "c3:8443"}
	text, err := cfg.context(authority, "admin", &token)
	if err != nil {
		t.Fatal(err)
	}
	var file contextFile
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if c := file.Contexts[0]; c.Controller != "https://c1:8443" || !slices.Equal(c.Others, []string{"https://c2:8443", "https://c3:8443"}) {
		t.Errorf("%s and %q", c.Controller, c.Others)
	}
}
