package desired

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// checkContract applies the stack's rules to its variables. What holds a secret is
// returned, to be checked once it is resolved.
func (b *stackBuild) checkContract() []api.ContractRule {
	var later []api.ContractRule
	for i, rule := range b.stack.Spec.Contract {
		at := b.stack.doc.at(fmt.Sprintf("spec.contract[%d]", i))
		if found, ok := b.vars.definition(rule.Name); ok {
			at = found.at(rule.Name)
		} else if rule.ReplacedBy != "" {
			continue
		}
		if rule.ReplacedBy != "" {
			b.fail(at, "variable %s is an old name: use %s", rule.Name, rule.ReplacedBy)
			continue
		}
		value, ok := b.vars.lookup(rule.Name)
		if !ok && !rule.Optional {
			b.fail(at, "variable %s is required%s", rule.Name, didYouMean(rule.Name, b.unruled()))
			continue
		}
		later = b.checkRule("variable "+rule.Name, rule, value, at, later)
	}
	return later
}

// settle sorts rules and drops those that several services repeat.
func settle(rules []api.ContractRule) []api.ContractRule {
	slices.SortStableFunc(rules, func(x, y api.ContractRule) int {
		return cmp.Or(cmp.Compare(x.Rule.Name, y.Rule.Name), cmp.Compare(x.Value, y.Value))
	})
	return slices.CompactFunc(rules, func(x, y api.ContractRule) bool { return reflect.DeepEqual(x, y) })
}

// checkRule checks a value now, or appends the rule to later when the value holds a secret.
func (b *stackBuild) checkRule(what string, rule api.VariableRule, value string, at Problem, later []api.ContractRule) []api.ContractRule {
	if len(api.References(value)) > 0 {
		return append(later, api.ContractRule{Rule: rule, Value: value})
	}
	if err := rule.Check(value); err != nil {
		b.fail(at, "%s %s", what, err)
	}
	return later
}

// unruled are the variables that no rule names: candidates for a misspelt one.
func (b *stackBuild) unruled() []string {
	return slices.DeleteFunc(b.vars.names(), func(name string) bool {
		return slices.ContainsFunc(b.stack.Spec.Contract, func(r api.VariableRule) bool { return r.Name == name })
	})
}

// checkEnvironment applies the rules for the environment of a service's containers.
func (b *stackBuild) checkEnvironment(service *api.Service, rules []api.VariableRule) []api.ContractRule {
	var later []api.ContractRule
	for i := range service.Replicas {
		env := environmentOf(&service.Replicas[i].Spec)
		for _, rule := range rules {
			later = b.checkKey(service.Name, rule, env, later)
		}
	}
	return later
}

func (b *stackBuild) checkKey(service string, rule api.VariableRule, env map[string]string, later []api.ContractRule) []api.ContractRule {
	value, ok := env[rule.Name]
	at := b.files.environment(service, rule.Name)
	what := "environment variable " + rule.Name
	switch {
	case ok && rule.ReplacedBy != "":
		b.fail(at, "%s is an old name: use %s", what, rule.ReplacedBy)
	case rule.ReplacedBy != "":
	case ok:
		return b.checkRule(what, rule, value, at, later)
	case !rule.Optional:
		b.fail(at, "%s is required%s", what, didYouMean(rule.Name, keysOf(env)))
	default:
		b.checkMisspelt(service, rule.Name, env)
	}
	return later
}

// checkMisspelt refuses a key that is one slip away from an optional one that is absent:
// the program would silently take its default.
func (b *stackBuild) checkMisspelt(service, name string, env map[string]string) {
	for _, key := range keysOf(env) {
		if distance(key, name) == 1 {
			b.fail(b.files.environment(service, key), "environment variable %s is not known (did you mean %q?)", key, name)
		}
	}
}

// environmentOf returns the variables that have a value.
func environmentOf(spec *api.ContainerSpec) map[string]string {
	env := make(map[string]string, len(spec.Env))
	for _, entry := range spec.Env {
		if key, value, ok := strings.Cut(entry, "="); ok {
			env[key] = value
		}
	}
	return env
}

// checkSecrets refuses what looks like a secret in the clear.
func (b *stackBuild) checkSecrets(service *api.Service) {
	for i := range service.Replicas {
		replica := &service.Replicas[i]
		env := environmentOf(&replica.Spec)
		for _, key := range keysOf(env) {
			at := func() Problem { return b.files.environment(service.Name, key) }
			b.checkNamed(key, env[key], at)
			b.checkReferences(api.References(env[key]), at)
		}
		inEnv := api.References(strings.Join(replica.Spec.Env, ""))
		elsewhere := slices.DeleteFunc(slices.Clone(replica.SecretRefs), func(ref string) bool { return slices.Contains(inEnv, ref) })
		b.checkReferences(elsewhere, b.placeOf("services."+service.Name))
		b.checkTexts(service.Name, textsOf(&replica.Spec))
		if l := replica.Spec.Logging; l != nil {
			for _, key := range keysOf(l.Options) {
				b.checkNamed(key, l.Options[key], b.placeOf("services."+service.Name+".logging.options."+key))
			}
		}
	}
	b.checkHooks(service.Name, "post_start", service.PostStart)
	b.checkHooks(service.Name, "pre_stop", service.PreStop)
}

// textsOf are the texts of a container, by field, whose names say nothing about them.
func textsOf(spec *api.ContainerSpec) map[string][]string {
	texts := map[string][]string{"command": spec.Command, "entrypoint": spec.Entrypoint}
	if check := spec.Healthcheck; check != nil {
		texts["healthcheck.test"] = check.Test
	}
	for _, key := range keysOf(spec.Labels) {
		texts["labels"] = append(texts["labels"], spec.Labels[key])
	}
	for _, file := range spec.Files {
		if !file.Secret {
			texts["configs"] = append(texts["configs"], file.Content)
		}
	}
	return texts
}

func (b *stackBuild) checkTexts(service string, texts map[string][]string) {
	for _, field := range keysOf(texts) {
		for _, text := range texts[field] {
			if fault := plaintextFault("", text); fault != "" {
				b.fail(b.files.at("services."+service+"."+field), "%s", fault)
			}
		}
	}
}

func (b *stackBuild) checkHooks(service, field string, hooks []api.Hook) {
	for i, hook := range hooks {
		at := fmt.Sprintf("%s[%d]", field, i)
		b.checkTexts(service, map[string][]string{at + ".command": hook.Command})
		for _, entry := range hook.Env {
			key, value, _ := strings.Cut(entry, "=")
			b.checkNamed(key, value, b.placeOf("services."+service+"."+at+".environment."+key))
		}
	}
}

// placeOf is where a path stands, looked for only when it is needed.
func (b *stackBuild) placeOf(path string) func() Problem {
	return func() Problem { return b.files.at(path) }
}

// checkNamed refuses a value that looks like a secret by itself or by its name.
func (b *stackBuild) checkNamed(name, value string, at func() Problem) {
	if fault := plaintextFault(name, value); fault != "" && !b.plaintextAllowed(name) {
		b.fail(at(), "%s", fault)
	}
}

// checkReferences refuses malformed references that variables put together. Those that
// stand in a file were refused there.
func (b *stackBuild) checkReferences(refs []string, at func() Problem) {
	if b.unresolvable {
		return
	}
	for _, ref := range refs {
		if _, err := api.ParseReference(ref); err != nil {
			b.fail(at(), "%s", err)
		}
	}
}

// plaintextAllowed tells whether the fleet, the stack or the node lets the name be.
func (b *stackBuild) plaintextAllowed(name string) bool {
	for _, names := range [][]string{b.node.fleet.Spec.PlaintextAllowed, b.stack.Spec.PlaintextAllowed, b.node.node.Spec.PlaintextAllowed} {
		if slices.Contains(names, name) {
			return true
		}
	}
	return false
}
