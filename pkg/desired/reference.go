package desired

import (
	"regexp"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// embedded finds "{{ op://… }}"; other templates ("{{.Name}}" of a log tag) are not ours.
var embedded = regexp.MustCompile(`\{\{\s*((?i:op|akv)://[^{}]*?)\s*\}\}`)

// placeholders replaces the secret references in a text by opaque placeholders: a text
// that is a reference as a whole, or "{{ op://… }}" inside of it. The error is about the
// first malformed reference and does not repeat it.
func placeholders(text string) (string, error) {
	if err := api.CheckText(text); err != nil {
		return "", err
	}
	if api.IsReference(text) {
		ref, err := api.ParseReference(text)
		if err != nil {
			return "", err
		}
		return api.Placeholder(ref.String()), nil
	}
	var failed error
	replaced := embedded.ReplaceAllStringFunc(text, func(found string) string {
		inner := strings.TrimSpace(strings.Trim(found, "{}"))
		ref, err := api.ParseReference(inner)
		if err != nil && failed == nil {
			failed = err
		}
		return api.Placeholder(ref.String())
	})
	if failed != nil {
		return "", failed
	}
	return replaced, nil
}
