package parity

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ktrdr.io/fleet/test/parity/recorder"
)

// Difference is one field of one request that is not as docker compose has it.
type Difference struct {
	// Request is the kind and the name of what is made, Path a field of its body.
	Request, Path string
	Compose, Ours string
}

// String implements fmt.Stringer.
func (d Difference) String() string {
	return fmt.Sprintf("%s %s: docker compose %s, ours %s", d.Request, d.Path, d.Compose, d.Ours)
}

// Facts are what Compare can't read from the requests.
type Facts struct {
	// Version is the API version of the engine.
	Version string
	// Fractions are containers whose stop_grace_period is no whole number of seconds.
	Fractions map[string]bool
	// Refused are containers that our side refuses because the engine is too old.
	Refused map[string]bool
}

// Result of Compare.
type Result struct {
	Differences []Difference
	// Applied counts how often each rule explained something.
	Applied map[string]int
	// Compared counts requests that both sides sent.
	Compared int
}

// Pair is one request as both sides sent it; a body is nil where a side sent none.
type pair struct {
	kind, name    string
	compose, ours map[string]any
	facts         Facts
}

// Compare reports the differences between two recordings that no rule explains. Fields
// that are absent, null, zero or empty mean the same to an engine, and so do orders of
// lists that are sets.
func Compare(compose, ours []recorder.Request, facts Facts) Result {
	result := Result{Applied: map[string]int{}}
	for _, p := range pairs(compose, ours, facts) {
		for _, rule := range Rules() {
			if rule.apply(p) {
				result.Applied[rule.Name]++
			}
		}
		if p.compose != nil && p.ours != nil {
			result.Compared++
		}
		result.Differences = append(result.Differences, p.differences()...)
	}
	return result
}

func pairs(compose, ours []recorder.Request, facts Facts) []*pair {
	byKey := map[string]*pair{}
	put := func(requests []recorder.Request, set func(*pair, map[string]any)) {
		for _, request := range requests {
			key := request.Kind + " " + request.Name
			if byKey[key] == nil {
				byKey[key] = &pair{kind: request.Kind, name: request.Name, facts: facts}
			}
			body := maps.Clone(request.Body)
			if request.Query != "" {
				body["?"] = request.Query
			}
			set(byKey[key], copied(body))
		}
	}
	put(compose, func(p *pair, body map[string]any) { p.compose = body })
	put(ours, func(p *pair, body map[string]any) { p.ours = body })
	var all []*pair
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		all = append(all, byKey[key])
	}
	return all
}

// copied makes a deep copy by way of JSON, so that rules may change it.
func copied(body map[string]any) map[string]any {
	data, err := json.Marshal(body)
	if err != nil {
		return body
	}
	var made map[string]any
	if json.Unmarshal(data, &made) != nil {
		return body
	}
	return made
}

func (p *pair) differences() []Difference {
	request := p.kind + " " + p.name
	switch {
	case p.compose == nil && p.ours == nil:
		return nil
	case p.compose == nil:
		return []Difference{{Request: request, Path: "(request)", Compose: "sends nothing", Ours: "sends " + spell(normal("", p.ours))}}
	case p.ours == nil:
		return []Difference{{Request: request, Path: "(request)", Compose: "sends " + spell(normal("", p.compose)), Ours: "sends nothing"}}
	}
	var found []Difference
	diverge(&found, Difference{Request: request}, normal("", p.compose), normal("", p.ours))
	return found
}

// diverge walks two bodies down to the fields that differ.
func diverge(found *[]Difference, at Difference, compose, ours any) {
	c, cIsMap := compose.(map[string]any)
	o, oIsMap := ours.(map[string]any)
	if !cIsMap && compose == nil {
		c, cIsMap = map[string]any{}, oIsMap
	}
	if !oIsMap && ours == nil {
		o, oIsMap = map[string]any{}, cIsMap
	}
	if !cIsMap || !oIsMap {
		if at.Compose, at.Ours = spell(compose), spell(ours); at.Compose != at.Ours {
			*found = append(*found, at)
		}
		return
	}
	keys := maps.Clone(c)
	maps.Copy(keys, o)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		next := at
		next.Path = strings.TrimPrefix(at.Path+"."+key, ".")
		diverge(found, next, c[key], o[key])
	}
}

func spell(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// isSet tells lists whose order means nothing to an engine.
func isSet(key string) bool {
	switch key {
	case "Env", "ExtraHosts", "Binds", "Mounts", "Ulimits", "Aliases":
		return true
	}
	return false
}

// emptyMatters tells fields in which an empty list is something else than none.
func emptyMatters(key string) bool {
	return key == "Entrypoint" || key == "MaskedPaths" || key == "ReadonlyPaths" || key == "Init"
}

// normal drops what is zero and sorts what is a set. nil is nothing.
func normal(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		kept := map[string]any{}
		for name, value := range v {
			if value = normal(name, value); value != nil {
				kept[name] = value
			}
		}
		// A port that is exposed, and a device of any kind, is an empty object.
		if len(kept) == 0 && !strings.Contains(key, "/") {
			return nil
		}
		return kept
	case []any:
		if len(v) == 0 && !emptyMatters(key) {
			return nil
		}
		kept := make([]any, 0, len(v))
		for _, item := range v {
			kept = append(kept, normal("/", item))
		}
		if isSet(key) {
			slices.SortFunc(kept, func(a, b any) int { return cmp.Compare(spell(a), spell(b)) })
		}
		return kept
	case string:
		if v == "" && key != "/" {
			return nil
		}
	case float64:
		if v == 0 {
			return nil
		}
	case bool:
		if !v && !emptyMatters(key) {
			return nil
		}
	}
	return v
}
