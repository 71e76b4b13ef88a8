package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// HashVersion prefixes every spec hash. It changes only when the meaning of a field
// changes; new fields leave old hashes alone because zero fields are omitted.
const HashVersion = "v1"

// Hash returns the versioned hash of a spec: "v1:" and 64 hex digits over its JSON
// form, whose map keys are sorted. It never depends on secret values.
func (s *ContainerSpec) Hash() string { return hashOf(s) }

// Hash returns the versioned hash of the network's spec.
func (s *NetworkSpec) Hash() string { return hashOf(s) }

// Hash returns the versioned hash of the volume's spec.
func (s *VolumeSpec) Hash() string { return hashOf(s) }

func hashOf(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		// Specs hold only strings, numbers, booleans, slices and string maps, which
		// encoding/json always encodes.
		return HashVersion + ":" + err.Error()
	}
	sum := sha256.Sum256(data)
	return HashVersion + ":" + hex.EncodeToString(sum[:])
}
