package api

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Check tells which part of the rule a value breaks; nil when none. Both the validation
// of desired state and the resolution of secrets call it. No error repeats the value.
func (r VariableRule) Check(value string) error {
	if value == "" {
		if r.Optional {
			return nil
		}
		return errors.New("must not be empty")
	}
	if n := utf8.RuneCountInString(value); n < r.MinLength {
		return fmt.Errorf("must have at least %d characters", r.MinLength)
	}
	if len(r.Allowed) > 0 && !slices.Contains(r.Allowed, value) {
		return fmt.Errorf("must be one of %s", strings.Join(r.Allowed, ", "))
	}
	if r.Pattern == "" {
		return nil
	}
	pattern, err := regexp.Compile(`^(?:` + r.Pattern + `)$`)
	if err != nil {
		return fmt.Errorf("has a rule whose pattern is invalid: %w", err)
	}
	if !pattern.MatchString(value) {
		return fmt.Errorf("must match the pattern %s", r.Pattern)
	}
	return nil
}
