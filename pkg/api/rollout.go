package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// Actions after a failed update, in Compose's words.
const (
	FailureRollback = "rollback"
	FailurePause    = "pause"
	FailureContinue = "continue"
)

// Rollout is what an agent remembers of the rollouts of one stack. It is immutable.
type Rollout struct {
	// Good is what a rollback returns to; nil until the stack was converged once.
	Good *KnownGood `json:"good,omitzero"`
	// Failed is the update in quarantine; nil when there is none.
	Failed *FailedUpdate `json:"failed,omitzero"`
}

// KnownGood is a stack as it was read back converged for its monitor time. It holds all
// that it takes to make it again without the source and without a registry.
type KnownGood struct {
	// Desired has this stack only. It holds references, never values.
	Desired *Desired `json:"desired,omitzero"`
	// Images are what ran, by container name: tags move.
	Images map[string]ImagePin `json:"images,omitzero"`
	// Jobs that had ended well, as in Observed.Jobs.
	Jobs map[string]string `json:"jobs,omitzero"`
	At   time.Time         `json:"at"`
}

// Stack returns the stack, or nil.
func (g *KnownGood) Stack() *Stack {
	if g == nil || g.Desired == nil || len(g.Desired.Stacks) != 1 {
		return nil
	}
	return &g.Desired.Stacks[0]
}

// ImagePin is an image by content.
type ImagePin struct {
	ID string `json:"id"`
	// Digest of the repository ("sha256:…"), by which a registry knows it; empty for
	// images that never saw one.
	Digest string `json:"digest,omitzero"`
}

// FailedUpdate is an update that is not tried again while the stack and its images stay
// what they were.
type FailedUpdate struct {
	Revision string `json:"revision"`
	// Digest is Stack.Digest of what failed, Images the ids of its images by reference.
	Digest string            `json:"digest"`
	Images map[string]string `json:"images,omitzero"`
	// Action is FailureRollback or FailurePause.
	Action    string `json:"action"`
	Service   string `json:"service,omitzero"`
	Container string `json:"container,omitzero"`
	Reason    Reason `json:"reason"`
	Message   string `json:"message"`
	// Log are the last lines that the container printed, without secrets.
	Log []string  `json:"log,omitzero"`
	At  time.Time `json:"at"`
}

// SumDigest computes what belongs into Digest: a digest over everything in the stack that
// the agent acts on. Another revision of the repository with the same stack has the same.
func (s *Stack) SumDigest() string {
	plain := *s
	plain.Digest = ""
	data, err := json.Marshal(&plain)
	if err != nil {
		return err.Error() // never: a Stack holds only what encoding/json encodes
	}
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
