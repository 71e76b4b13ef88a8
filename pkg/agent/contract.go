package agent

import (
	"errors"
	"fmt"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
)

// contract checks the rules of stacks that can be checked only once secrets are resolved.
type contract struct{ *secrets.Store }

// errNotResolved ends the expansion of a value that has a reference without a value yet:
// that is told as a missing secret, not as a broken rule.
var errNotResolved = errors.New("not resolved")

// Refused maps each reference whose value breaks a rule to a sentence that names the
// variable and the rule, never the value.
func (c contract) Refused(stack *api.Stack) map[string]string {
	var refused map[string]string
	for _, rule := range stack.Contract {
		value, err := api.Expand(rule.Value, func(ref string) (string, error) {
			v, ok := c.Open(ref)
			if !ok {
				return "", errNotResolved
			}
			return v.Open(), nil
		})
		if err != nil {
			continue
		}
		broken := rule.Rule.Check(value)
		if broken == nil {
			continue
		}
		if refused == nil {
			refused = map[string]string{}
		}
		for _, ref := range api.References(rule.Value) {
			refused[ref] = fmt.Sprintf("variable %s %s", rule.Rule.Name, broken)
		}
	}
	return refused
}
