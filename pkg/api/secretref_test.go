package api_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/api"
)

func TestParseReference(t *testing.T) {
	version := strings.Repeat("0a", 16)
	cases := map[string]api.SecretReference{
		"op://KTRDR Homelab Secrets/ktrdr-homelab-core/db_password": {
			Scheme: "op", Vault: "KTRDR Homelab Secrets", Item: "ktrdr-homelab-core", Field: "db_password",
		},
		"op://v/i/s/f":                      {Scheme: "op", Vault: "v", Item: "i", Section: "s", Field: "f"},
		"op://v/i/f?attribute=otp":          {Scheme: "op", Vault: "v", Item: "i", Field: "f", Attribute: "otp"},
		"op://v.1/i_2/f-3":                  {Scheme: "op", Vault: "v.1", Item: "i_2", Field: "f-3"},
		"akv://my-vault/db-password":        {Scheme: "akv", Vault: "my-vault", Secret: "db-password"},
		"akv://my-vault/db-pass/" + version: {Scheme: "akv", Vault: "my-vault", Secret: "db-pass", Version: version},
	}
	for text, want := range cases {
		got, err := api.ParseReference(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
		if got.String() != text {
			t.Errorf("%s is written as %s", text, got)
		}
	}
	if got, err := api.ParseReference("OP://v/i/f"); err != nil || got.String() != "op://v/i/f" {
		t.Errorf("upper case scheme: %s, %v", got, err)
	}
}

func TestMalformedReferences(t *testing.T) {
	cases := map[string]string{
		"op://canary/item":                      "no field",
		"op://canary":                           "has 1 parts",
		"op://a/b/c/d/canary":                   "has 5 parts",
		"op://canary//f":                        "part 2 of the secret reference is empty",
		"op:// canary/i/f":                      "begins or ends with a space",
		"op://v/i/canary ":                      "begins or ends with a space",
		"op://v/canary%20x/f":                   "characters other than",
		"op://v/i/f?attribute=canary":           "must be attribute=",
		"op://v/i/f?":                           "must be attribute=",
		"akv://vault/db_canary":                 "no underscore",
		"akv://v/canary":                        "3 to 24",
		"akv://vault/":                          "1 to 127",
		"akv://vault/name/canary":               "32 hexadecimal",
		"akv://vault":                           "akv://vault/name",
		"canary":                                "not a secret reference",
		"http://canary/i/f":                     "not a secret reference",
		"op://v/i/" + strings.Repeat("x", 2000): "longer than",
	}
	for text, want := range cases {
		_, err := api.ParseReference(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
}

// FuzzParseReference: what is accepted is read the same again, and travels as a placeholder.
func FuzzParseReference(f *testing.F) {
	for _, seed := range []string{"op://v/i/f", "op://v/i/s/f?attribute=otp", "akv://vault/name", "op://a b/c.d/e_f", "OP://"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := api.ParseReference(text)
		if err != nil {
			return
		}
		again, err := api.ParseReference(ref.String())
		if err != nil || again != ref {
			t.Fatalf("%q is %+v, written as %q and read as %+v, %v", text, ref, ref, again, err)
		}
		if diff := cmp.Diff([]string{ref.String()}, api.References("x"+api.Placeholder(ref.String())+"y")); diff != "" {
			t.Fatal(diff)
		}
	})
}
