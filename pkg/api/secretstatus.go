package api

import "time"

// SecretsStatus is what an agent tells about secrets (GET /v1/secrets): who uses which
// reference and how its provider is doing. It never holds a value.
type SecretsStatus struct {
	Node      string          `json:"node"`
	Time      time.Time       `json:"time"`
	Providers []ProviderState `json:"providers"`
	// Secrets are sorted by reference.
	Secrets []SecretStatus `json:"secrets"`
}

// SecretPhase is the state of one reference.
type SecretPhase string

// Phases of a reference.
const (
	// SecretFresh was confirmed by the last look.
	SecretFresh SecretPhase = "ok"
	// SecretStale has a value from before; the last look failed.
	SecretStale SecretPhase = "stale"
	// SecretMissing has no value since the agent started.
	SecretMissing SecretPhase = "missing"
	// SecretDenied is not asked for: the node's policy does not allow it.
	SecretDenied SecretPhase = "denied"
)

// SecretPhases are all of them.
func SecretPhases() []SecretPhase {
	return []SecretPhase{SecretFresh, SecretStale, SecretMissing, SecretDenied}
}

// SecretStatus tells about one reference of the desired state.
type SecretStatus struct {
	Reference string `json:"reference"`
	// Provider resolves it; empty when the configuration names none for its scheme.
	Provider string      `json:"provider,omitzero"`
	Phase    SecretPhase `json:"phase"`
	// Generation counts the distinct values that the node has seen, from 1; 0 while there is
	// none at hand.
	Generation uint64 `json:"generation"`
	// ConfirmedAt is when the value was last read, ChangedAt when it was first read as it is.
	ConfirmedAt time.Time `json:"confirmedAt,omitzero"`
	ChangedAt   time.Time `json:"changedAt,omitzero"`
	// Reason and Message say why the phase is not ok.
	Reason  Reason       `json:"reason,omitzero"`
	Message string       `json:"message,omitzero"`
	Users   []SecretUser `json:"users"`
}

// SecretUser is a service that uses a reference, or a registry whose login it is part of.
type SecretUser struct {
	Stack    string `json:"stack,omitzero"`
	Service  string `json:"service,omitzero"`
	Registry string `json:"registry,omitzero"`
}

// String is "stack/service", or "registry HOST".
func (u SecretUser) String() string {
	if u.Registry != "" {
		return "registry " + u.Registry
	}
	if u.Service == "" {
		return u.Stack
	}
	return u.Stack + "/" + u.Service
}
