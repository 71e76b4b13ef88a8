package agent

import "testing"

// TestToldSource: who asks what the agent follows is told no password.
func TestToldSource(t *testing.T) {
	for given, want := range map[string]string{
		"https://ann:s3cret@git.example/x.git": "https://ann@git.example/x.git",
		"https://git.example/x.git":            "https://git.example/x.git",
		"ssh://git@git.example/x.git":          "ssh://git@git.example/x.git",
		"git@git.example:x.git":                "git@git.example:x.git",
	} {
		config := SourceConfig{Git: &GitSource{URL: given}}
		if got := config.told(); got.URL != want || got.Kind != "git" || got.Branch != "main" {
			t.Errorf("%s is told as %+v", given, got)
		}
	}
}
