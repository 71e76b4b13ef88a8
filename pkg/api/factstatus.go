package api

import "time"

// StackSecret is a secret that a stack uses, never its value. It says more than the
// generation only where something deviates: a status holds many of them.
type StackSecret struct {
	Reference string `json:"reference"`
	// Generation of the value in force: distinct values that the node has seen, from 1. 0 is
	// a value that it does not remember, or none.
	Generation uint64 `json:"generation"`
	// Wanted is the newest generation, where an earlier value is still in force.
	Wanted uint64 `json:"wantedGeneration,omitzero"`
	// Since is when the value in force was first read.
	Since time.Time `json:"since,omitzero"`
	// Phase is empty while the last look confirmed the value; then ConfirmedAt is too.
	Phase SecretPhase `json:"phase,omitzero"`
	// ConfirmedAt is when the value was last read.
	ConfirmedAt time.Time `json:"confirmedAt,omitzero"`
}

// RegistrationStatus says whether a container is known where its service registers.
type RegistrationStatus struct {
	Registered bool `json:"registered"`
	// State is the word of the entry, such as available or busy.
	State string `json:"state,omitzero"`
	// Since is when it was first seen registered, or not.
	Since time.Time `json:"since,omitzero"`
	// Reason and Message say why it is not registered, or that nobody can tell at present.
	Reason  Reason `json:"reason,omitzero"`
	Message string `json:"message,omitzero"`
}

// RegistrarStatus is the last look at an address where services register.
type RegistrarStatus struct {
	URL string `json:"url"`
	// OK says that the last answer could be used.
	OK        bool      `json:"ok"`
	CheckedAt time.Time `json:"checkedAt,omitzero"`
	Reason    Reason    `json:"reason,omitzero"`
	Message   string    `json:"message,omitzero"`
}

// BackupStatus is the last look at the files that tell that a backup happened.
type BackupStatus struct {
	Name string `json:"name"`
	// Stack that declares it; empty for the node.
	Stack string `json:"stack,omitzero"`
	// OK says that the newest backup is large and young enough.
	OK bool `json:"ok"`
	// File is the newest one that is large enough, by its name in the folder, with its Size in
	// bytes and the Time of its last change.
	File      string    `json:"file,omitzero"`
	Size      int64     `json:"size,omitzero"`
	Time      time.Time `json:"time,omitzero"`
	CheckedAt time.Time `json:"checkedAt,omitzero"`
	Reason    Reason    `json:"reason,omitzero"`
	Message   string    `json:"message,omitzero"`
}
