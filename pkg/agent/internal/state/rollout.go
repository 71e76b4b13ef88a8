package state

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// keptRollout is an api.Rollout on disk: the desired state in it is kept as the last good
// one is, with what its JSON leaves out.
type keptRollout struct {
	Good   *keptGood         `json:"good,omitzero"`
	Failed *api.FailedUpdate `json:"failed,omitzero"`
}

type keptGood struct {
	Desired json.RawMessage         `json:"desired"`
	Images  map[string]api.ImagePin `json:"images,omitzero"`
	Jobs    map[string]string       `json:"jobs,omitzero"`
	At      time.Time               `json:"at"`
}

func encodeRollout(r *api.Rollout) ([]byte, error) {
	kept := keptRollout{Failed: r.Failed}
	if r.Good.Stack() != nil {
		plain, err := encodeDesired(r.Good.Desired)
		if err != nil {
			return nil, err
		}
		kept.Good = &keptGood{Desired: plain, Images: r.Good.Images, Jobs: r.Good.Jobs, At: r.Good.At}
	}
	return json.Marshal(kept)
}

func decodeRollout(data []byte) (*api.Rollout, error) {
	var kept keptRollout
	if err := json.Unmarshal(data, &kept); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	r := &api.Rollout{Failed: kept.Failed}
	if kept.Good == nil {
		return r, nil
	}
	desired, err := decodeDesired(kept.Good.Desired)
	if err != nil {
		return nil, err
	}
	r.Good = &api.KnownGood{Desired: desired, Images: kept.Good.Images, Jobs: kept.Good.Jobs, At: kept.Good.At}
	return r, nil
}

// Rollouts returns a copy, by stack. The rollouts themselves must not be changed.
func (s *Store) Rollouts() map[string]*api.Rollout {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return maps.Clone(s.rollouts)
}

// SetRollout remembers where the rollouts of a stack stand; nil forgets it. One that
// could not be read back exactly is refused.
func (s *Store) SetRollout(stack string, r *api.Rollout) error {
	at := entry{inRollouts, stack}
	if r == nil {
		return unset(s, at, s.rollouts)
	}
	data, err := encodeRollout(r)
	if err != nil {
		return &Error{Op: "keep the rollout of stack " + stack, Class: api.Terminal, Reason: api.ReasonStateCorrupt, Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rollouts[stack] = r
	return s.disk.write([]change{{at, data}})
}
