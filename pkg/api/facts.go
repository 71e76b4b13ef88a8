package api

import "time"

// Registration says where a container registers itself, and how to tell its entry there.
type Registration struct {
	URL string `json:"url"`
	// Match are fields of an entry with their values.
	Match map[string]string `json:"match"`
	// State is the field of the entry that says how the service is.
	State    string        `json:"state,omitzero"`
	Interval time.Duration `json:"interval"`
	Timeout  time.Duration `json:"timeout"`
	// Grace is how long it may be missing before that is told.
	Grace time.Duration `json:"grace"`
	// Required says that the service has not converged before it is registered.
	Required bool `json:"required,omitzero"`
}

// Backup names the files that tell that a backup happened.
type Backup struct {
	Name string `json:"name"`
	// Path of the folder on the host, Pattern of the names of the files in it (path.Match).
	Path    string        `json:"path"`
	Pattern string        `json:"pattern"`
	MaxAge  time.Duration `json:"maxAge"`
	// MinSize in bytes of a file that counts.
	MinSize  int64         `json:"minSize"`
	Interval time.Duration `json:"interval"`
}

// RegistrationFact is what the last looks found of a container's registration.
type RegistrationFact struct {
	// For is the StartedAt of the run that it is about.
	For        time.Time
	Registered bool
	// Lost says that it was registered before, in this run.
	Lost bool
	// Since is when it was first seen so.
	Since time.Time
	// Reason and Message say why it is not registered.
	Reason  Reason
	Message string
}
