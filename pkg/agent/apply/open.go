package apply

import (
	"bytes"
	"encoding/json"
	"fmt"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// opener opens references: the values of the digests that an operation was planned with,
// whatever the provider has by now.
type opener struct {
	secrets Secrets
	// digests by reference; nil means the newest values.
	digests map[string]string
}

// opened gives access to the values that an operation was planned with.
func (x *Executor) opened(op plan.Op) opener { return opener{x.cfg.Secrets, op.Secrets} }

func (o opener) open(ref string) (secrets.Value, bool) {
	if o.digests == nil {
		return o.secrets.Open(ref)
	}
	return o.secrets.OpenAs(ref, o.digests[ref])
}

// expand opens the references in s.
func (o opener) expand(s string) (string, error) {
	return api.Expand(s, func(ref string) (string, error) {
		v, ok := o.open(ref)
		if !ok {
			return "", &opError{
				class: api.Waiting, reason: api.ReasonSecretMissing,
				err: fmt.Errorf("open secret %s: no value at hand", ref),
			}
		}
		return v.Open(), nil
	})
}

func (o opener) expandAll(list []string) ([]string, error) {
	if list == nil {
		return nil, nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		var err error
		if out[i], err = o.expand(s); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// spec opens every reference in a spec. It walks the JSON form so that no string field can
// be forgotten.
func (o opener) spec(spec api.ContainerSpec) (api.ContainerSpec, error) {
	data, err := json.Marshal(spec)
	if err != nil {
		return spec, fmt.Errorf("encode spec: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return spec, fmt.Errorf("decode spec: %w", err)
	}
	if tree, err = o.tree(tree); err != nil {
		return spec, err
	}
	if data, err = json.Marshal(tree); err != nil {
		return spec, fmt.Errorf("encode opened spec: %w", err)
	}
	var opened api.ContainerSpec
	if err := json.Unmarshal(data, &opened); err != nil {
		return spec, fmt.Errorf("decode opened spec of %d bytes", len(data)) // the cause could show a value
	}
	return opened, nil
}

func (o opener) tree(node any) (any, error) {
	var err error
	switch v := node.(type) {
	case string:
		return o.expand(v)
	case []any:
		for i := range v {
			if v[i], err = o.tree(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range v {
			if v[k], err = o.tree(v[k]); err != nil {
				return nil, err
			}
		}
	}
	return node, nil
}
