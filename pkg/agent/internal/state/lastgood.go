package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"ktrdr.io/fleet/pkg/api"
)

// maxDesired bounds what is kept, in bytes. A node of 100 containers has some 300 KB.
const maxDesired = 32 << 20

var (
	errLossy  = errors.New("it can't be read back exactly")
	errLarge  = errors.New("it is too large to keep")
	errFormat = errors.New("it was kept by another version of the agent")
)

const desiredFormat = 1

// keptDesired adds to the JSON of a Desired what JSON leaves out: the folder of the
// tree, where repository files lie in it, and the keys of networks and volumes.
type keptDesired struct {
	Format  int             `json:"format"`
	Root    string          `json:"root"`
	Omitted []string        `json:"omitted"`
	Desired json.RawMessage `json:"desired"`
}

// encodeDesired refuses what decodeDesired would not give back equal: a restart must
// never turn into a change.
func encodeDesired(desired *api.Desired) ([]byte, error) {
	plain, err := json.Marshal(desired)
	if err != nil {
		return nil, err
	}
	kept := keptDesired{Format: desiredFormat, Root: desired.Root, Desired: plain}
	for _, field := range omittedFields(desired) {
		kept.Omitted = append(kept.Omitted, *field)
	}
	data, err := json.Marshal(kept)
	if err != nil {
		return nil, err
	}
	if len(data) > maxDesired {
		return nil, fmt.Errorf("%d bytes: %w", len(data), errLarge)
	}
	back, err := decodeDesired(data)
	if err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(back, desired) {
		return nil, errLossy
	}
	return data, nil
}

func decodeDesired(data []byte) (*api.Desired, error) {
	var kept keptDesired
	if err := json.Unmarshal(data, &kept); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if kept.Format != desiredFormat {
		return nil, fmt.Errorf("format %d: %w", kept.Format, errFormat)
	}
	var desired api.Desired
	decoder := json.NewDecoder(bytes.NewReader(kept.Desired))
	// A field that this version does not know would silently be lost.
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&desired); err != nil {
		return nil, fmt.Errorf("%w: %w", errFormat, err)
	}
	fields := omittedFields(&desired)
	if len(fields) != len(kept.Omitted) {
		return nil, fmt.Errorf("%d fields instead of %d: %w", len(fields), len(kept.Omitted), ErrDamaged)
	}
	for i, field := range fields {
		*field = kept.Omitted[i]
	}
	desired.Root = kept.Root
	return &desired, nil
}

// omittedFields points at every string below Desired that has the tag json:"-", in a
// fixed order. A new one that is missing here makes encodeDesired fail with errLossy.
func omittedFields(desired *api.Desired) []*string {
	var fields []*string
	for i := range desired.Stacks {
		stack := &desired.Stacks[i]
		for j := range stack.Networks {
			fields = append(fields, &stack.Networks[j].Key)
		}
		for j := range stack.Volumes {
			fields = append(fields, &stack.Volumes[j].Key)
		}
		for j := range stack.Services {
			for k := range stack.Services[j].Replicas {
				fields = append(fields, repoPaths(&stack.Services[j].Replicas[k].Spec)...)
			}
		}
	}
	return fields
}

func repoPaths(spec *api.ContainerSpec) []*string {
	var paths []*string
	for i := range spec.Mounts {
		if repo := spec.Mounts[i].Repo; repo != nil {
			paths = append(paths, &repo.Path)
		}
	}
	return paths
}
