package api

import (
	"slices"
	"strings"
)

// Secret references travel through desired state as opaque placeholders: two
// private-use characters around the reference. No YAML, shell or URL syntax touches
// them, so a reference inside a longer string stays unambiguous.
const (
	placeholderOpen  = '\uE000'
	placeholderClose = '\uE001'
)

// What a placeholder begins and ends with.
const (
	PlaceholderOpen  = string(placeholderOpen)
	PlaceholderClose = string(placeholderClose)
)

// Placeholder wraps a secret reference such as "op://vault/item/field".
func Placeholder(ref string) string {
	return string(placeholderOpen) + ref + string(placeholderClose)
}

// References returns the distinct secret references in s, in order of appearance.
func References(s string) []string {
	var refs []string
	for {
		_, rest, found := strings.Cut(s, string(placeholderOpen))
		if !found {
			return refs
		}
		ref, tail, found := strings.Cut(rest, string(placeholderClose))
		if !found {
			return refs
		}
		if !slices.Contains(refs, ref) {
			refs = append(refs, ref)
		}
		s = tail
	}
}

// Expand replaces every placeholder in s by what value returns for its reference.
// The first error ends the expansion and is returned as it is.
func Expand(s string, value func(ref string) (string, error)) (string, error) {
	var out strings.Builder
	for {
		head, rest, found := strings.Cut(s, string(placeholderOpen))
		out.WriteString(head)
		if !found {
			return out.String(), nil
		}
		ref, tail, found := strings.Cut(rest, string(placeholderClose))
		if !found {
			out.WriteString(rest)
			return out.String(), nil
		}
		v, err := value(ref)
		if err != nil {
			return "", err
		}
		out.WriteString(v)
		s = tail
	}
}

// Display shows placeholders as "{{ op://… }}" for people.
func Display(s string) string {
	s = strings.ReplaceAll(s, string(placeholderOpen), "{{ ")
	return strings.ReplaceAll(s, string(placeholderClose), " }}")
}
