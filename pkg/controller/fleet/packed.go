package fleet

import (
	"encoding/json"

	"ktrdr.io/fleet/pkg/controller/internal/squeeze"
	"ktrdr.io/fleet/pkg/controller/rollout"
)

// packed is an entry. The parts of its record that are as large as the fleet, waves and targets,
// are in small, compressed, unless that is nil.
type packed struct {
	Entry

	small []byte
	size  int // of small, inflated
}

// parts of a record that are packed.
type parts struct {
	Waves   []rollout.Wave
	Targets map[string]rollout.Target
}

// pack is the entry with its large parts packed. Nobody but who asks for an old rollout reads
// them, and fifty are kept. What can't be packed stays as it is.
func (p packed) pack() packed {
	if p.small != nil {
		return p
	}
	raw, err := json.Marshal(parts{p.Record.Waves, p.Record.Targets})
	if err != nil {
		return p
	}
	small, err := squeeze.Deflate(raw)
	if err != nil {
		return p
	}
	p.small, p.size = small, len(raw)
	p.Record.Waves, p.Record.Targets = nil, nil
	return p
}

// unpack is the whole entry. What this process has packed can be read.
func (p packed) unpack() Entry {
	if p.small == nil {
		return p.Entry
	}
	e := p.Entry
	var read parts
	if raw, err := squeeze.Inflate(p.small, p.size); err == nil && json.Unmarshal(raw, &read) == nil {
		e.Record.Waves, e.Record.Targets = read.Waves, read.Targets
	}
	return e
}
