package api

import "time"

// KeptSecret is a secret that a service applies at its first start only: what reaches it
// later changes nothing by itself.
type KeptSecret struct {
	Ref string `json:"ref"`
	// Variable is what the stack calls it, for messages.
	Variable string `json:"variable"`
	// Exec makes the running service accept the new value, which is its standard input; none
	// means that a new value is refused.
	Exec    []string      `json:"exec,omitzero"`
	User    string        `json:"user,omitzero"`
	Timeout time.Duration `json:"timeout,omitzero"`
}

// Kept is what the agent remembers of a secret that a container's data keep.
type Kept struct {
	// Accepted is the keyed digest of the value that the service has for sure; empty when
	// nobody knows.
	Accepted string `json:"accepted,omitzero"`
	// Tried is the keyed digest of a value whose rotation began and was not seen to end: the
	// service may have either.
	Tried string `json:"tried,omitzero"`
	// Since is when a rotation made Accepted what the service has; zero for its first start.
	Since time.Time `json:"since,omitzero"`
}

// SecretGeneration is one of the distinct values that a reference had on a node.
type SecretGeneration struct {
	// Number counts them, from 1.
	Number uint64 `json:"number"`
	// Digest is keyed, as those of Kept.
	Digest string `json:"digest"`
	// Since is when it was first resolved as the present one.
	Since time.Time `json:"since"`
}

// KeptKey names a Kept in Observed.Kept: the secret ref of a container of a project.
func KeptKey(project, container, ref string) string { return project + "/" + container + "/" + ref }

// Kept returns the service's kept secret of that reference, or nil.
func (s *Service) Kept(ref string) *KeptSecret {
	for i := range s.Keeps {
		if s.Keeps[i].Ref == ref {
			return &s.Keeps[i]
		}
	}
	return nil
}
