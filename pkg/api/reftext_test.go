package api_test

import (
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/api"
)

func TestCheckText(t *testing.T) {
	mark := api.Placeholder("op://v/i/f")
	for text, want := range map[string]string{
		"": "", "plain text": "", "http://user@host/x": "", "shop://a": "", "stop:/x/y": "", "{{.Name}}": "",
		"op://v/i/f": "", "OP://v/i/f": "", "KEY=op://v/i/f": "", "a {{ op://v/i/f }} b {{akv://vault/name}}": "",
		mark: "", "postgres://u:" + mark + "@db": "", "{{ op://v/i/f }}" + mark: "",
		"op://canary":                  "has 1 parts",
		"KEY=op://v/canary":            "no field",
		"op://" + mark + "/i/f":        "characters other than",
		"a {{ op://v/canary }}":        "no field",
		"{{ akv://vault/canary_b }}":   "no underscore",
		"u:op://v/i/canary@db":         "inside of a longer text",
		"see op://v/i/canary":          "inside of a longer text",
		"--x=op://v/i/canary":          "inside of a longer text",
		"{{ op://v/i/canary":           "inside of a longer text",
		"{{ op://v/{{ canary }}/f }}":  "inside of a longer text",
		"{{ op://v/i/f }} op://canary": "inside of a longer text",
		"op:/v/canary/f":               "lacks a slash",
		"akv:/vault/canary":            "lacks a slash",
	} {
		err := api.CheckText(text)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestReserved(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "ä€🙂": false, "\uE010": false, "\uE0A0": false, "\uF8FF": false, "\xee\x80": false,
		"a\uE000": true, "\uE001": true, "\uE002": true, "\uE00F": true, api.Placeholder("x"): true,
	} {
		if got := api.Reserved(text); got != want {
			t.Errorf("%q is reserved: %t, want %t", text, got, want)
		}
	}
}

// FuzzCheckText: a text that passes and has a reference is one, or holds well-formed ones
// in braces; nothing is left that looks like one.
func FuzzCheckText(f *testing.F) {
	for _, seed := range []string{"op://v/i/f", "a {{ op://v/i/f }}", "K=op://v/i/f", "op:/v/i", "{{op://", "\uE000op://v/i/f\uE001", "x op://y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := api.CheckText(text)
		if err != nil && len(err.Error()) > 200 {
			t.Fatalf("the error repeats the text: %v", err)
		}
		if err != nil || !api.HasReference(text) || api.Reserved(text) {
			return
		}
		whole := text
		if _, value, found := strings.Cut(text, "="); found && api.IsReference(value) {
			whole = value
		}
		if _, err := api.ParseReference(whole); err != nil && !strings.Contains(text, "{{") {
			t.Fatalf("%q passes, but is no reference: %v", text, err)
		}
	})
}
