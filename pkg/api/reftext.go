package api

import (
	"errors"
	"regexp"
	"strings"
)

var (
	// embeddedReference stands inside a longer text, as `op inject` has it.
	embeddedReference = regexp.MustCompile(`\{\{\s*((?i:op|akv)://[^{}\n]*?)\s*\}\}`)
	// assignedReference is the whole value of a KEY=value item.
	assignedReference = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.-]*=)(?i:op|akv)://`)
	// looseReference is what is left of one that is neither.
	looseReference = regexp.MustCompile(`(?i)(^|[^a-z0-9+.-])(op|akv)://`)
	// slippedReference lacks a slash.
	slippedReference = regexp.MustCompile(`(?i)^\s*(op|akv):/[^/\s]+/`)
)

// Errors of texts whose references could not be resolved as they are written. None of
// them repeats the text.
var (
	errLoose   = errors.New("has a secret reference inside of a longer text: write {{ op://vault/item/field }} around it")
	errSlipped = errors.New("looks like a secret reference that lacks a slash: write op://vault/item/field")
)

// CheckText says why a text's literal references could not be resolved: malformed, or
// neither the whole text (or value of a KEY=value item) nor in {{ }}. Placeholders in it
// count as text. It is nil for a text without references.
func CheckText(text string) error {
	text, _ = Expand(text, func(string) (string, error) { return "\x00", nil })
	if prefix := assignedReference.FindStringSubmatch(text); prefix != nil {
		text = text[len(prefix[1]):]
	}
	if IsReference(text) {
		_, err := ParseReference(text)
		return err
	}
	for _, found := range embeddedReference.FindAllStringSubmatch(text, -1) {
		if _, err := ParseReference(found[1]); err != nil {
			return err
		}
	}
	if slippedReference.MatchString(text) {
		return errSlipped
	}
	if looseReference.MatchString(embeddedReference.ReplaceAllString(text, "")) {
		return errLoose
	}
	return nil
}

// HasReference tells whether a text has a placeholder, or a literal reference, well formed
// or not.
func HasReference(text string) bool {
	return strings.ContainsRune(text, placeholderOpen) || looseReference.MatchString(text)
}

// ErrReserved is the problem of a text for which Reserved is true.
var ErrReserved = errors.New("holds a character from U+E000 to U+E00F: those stand for secrets inside of the agent")

// Reserved tells whether text holds a character that placeholders and their like are made
// of. Nothing that comes from outside may: it could pass for a reference that nobody checked.
func Reserved(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r >= placeholderOpen && r <= '\uE00F' })
}
