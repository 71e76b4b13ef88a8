package api

import "time"

// NodeStatus is what an agent tells about itself (GET /v1/status).
type NodeStatus struct {
	Node    string    `json:"node"`
	Version string    `json:"version"`
	Time    time.Time `json:"time"`
	// Ready is false until the engine was observed and a desired state was accepted.
	Ready bool `json:"ready"`
	// Revision is applied or being applied; SourceRevision was seen last, even when invalid.
	Revision       string        `json:"revision"`
	RevisionTime   time.Time     `json:"revisionTime,omitzero"`
	SourceRevision string        `json:"sourceRevision,omitzero"`
	SourceCheckAt  time.Time     `json:"sourceCheckedAt,omitzero"`
	Engine         Engine        `json:"engine"`
	Policy         PolicyStatus  `json:"policy"`
	Conditions     []Condition   `json:"conditions,omitzero"`
	Stacks         []StackStatus `json:"stacks"`
	Mounts         []MountStatus `json:"mounts,omitzero"`
	// SecretProviders tells how the providers of secrets are doing.
	SecretProviders []ProviderState `json:"secretProviders,omitzero"`
	// Registrars are the addresses that were asked who is registered there, sorted by URL.
	Registrars []RegistrarStatus `json:"registrars,omitzero"`
	// Backups are those that are watched, sorted by stack and name.
	Backups []BackupStatus `json:"backups,omitzero"`
	// Link is the node's connection to its controller; nil in git mode. It is told on the
	// node only: a controller knows its own end.
	Link *Link `json:"link,omitzero"`
}

// Link tells about the connection of a node to its controller.
type Link struct {
	Connected bool `json:"connected"`
	// Endpoint is the controller that is connected, or was tried last, as host:port.
	Endpoint string `json:"endpoint,omitzero"`
	// Controller is what the connected controller calls itself.
	Controller string `json:"controller,omitzero"`
	// Since is when it was connected, or when the connection was lost.
	Since time.Time `json:"since,omitzero"`
	// LastError is why there is no connection.
	LastError string `json:"lastError,omitzero"`
}

// Engine describes the container engine of the node.
type Engine struct {
	Reachable  bool   `json:"reachable"`
	Version    string `json:"version,omitzero"`
	APIVersion string `json:"apiVersion,omitzero"`
	Driver     string `json:"storageDriver,omitzero"`
}

// PolicyStatus tells whether the node bounds what desired state may ask of it.
type PolicyStatus struct {
	// Enforced is false when the agent's configuration names no policy file: everything
	// that the desired state says is accepted.
	Enforced bool   `json:"enforced"`
	File     string `json:"file,omitzero"`
	// LoadedAt is when the policy in force was read.
	LoadedAt time.Time `json:"loadedAt,omitzero"`
}

// StackStatus is the state of one stack.
type StackStatus struct {
	Name       string          `json:"name"`
	Project    string          `json:"project"`
	Converged  bool            `json:"converged"`
	Reason     Reason          `json:"reason"`
	Message    string          `json:"message,omitzero"`
	Conditions []Condition     `json:"conditions,omitzero"`
	Services   []ServiceStatus `json:"services"`
	// Pending lists the operations still to do, as the plan prints them.
	Pending []string `json:"pending,omitzero"`
	Hold    *Hold    `json:"hold,omitzero"`
	// Rollout tells what the agent remembers of the stack's rollouts; nil before the first.
	Rollout *RolloutStatus `json:"rollout,omitzero"`
	// Secrets that the stack uses, sorted by reference.
	Secrets []StackSecret `json:"secrets,omitzero"`
}

// RolloutStatus says where a stack stands in its rollout.
type RolloutStatus struct {
	// Phase is steady, updating, paused or rolled-back.
	Phase string `json:"phase"`
	// Good is the revision of the last known good, GoodAt when it was proven.
	Good   string    `json:"good,omitzero"`
	GoodAt time.Time `json:"goodAt,omitzero"`
	// Failed is the update in quarantine.
	Failed *FailedUpdate `json:"failed,omitzero"`
}

// ServiceStatus is the state of one wanted container.
type ServiceStatus struct {
	Service   string `json:"service"`
	Container string `json:"container"`
	ID        string `json:"id,omitzero"`
	// Image is the wanted reference, Running the one that the container was made from, where
	// that is another.
	Image     string    `json:"image"`
	Running   string    `json:"runningImage,omitzero"`
	Wanted    string    `json:"wantedDigest,omitzero"`
	Actual    string    `json:"actualDigest,omitzero"`
	State     string    `json:"state"`
	Health    Health    `json:"health,omitzero"`
	Converged bool      `json:"converged"`
	Reason    Reason    `json:"reason,omitzero"`
	Message   string    `json:"message,omitzero"`
	StartedAt time.Time `json:"startedAt,omitzero"`
	Restarts  int       `json:"restarts,omitzero"`
	// Registration is nil where the service declares none, and while nothing is known of it.
	Registration *RegistrationStatus `json:"registration,omitzero"`
}

// MountStatus is the state of a required mount.
type MountStatus struct {
	Path    string `json:"path"`
	OK      bool   `json:"ok"`
	Reason  Reason `json:"reason,omitzero"`
	Message string `json:"message,omitzero"`
}

// Event is one line of `ktrdrctl events`: a change of state that a person may want to know.
type Event struct {
	Seq     uint64    `json:"seq"`
	Time    time.Time `json:"time"`
	Level   string    `json:"level"` // info, warn, error
	Stack   string    `json:"stack,omitzero"`
	Object  string    `json:"object,omitzero"`
	Reason  Reason    `json:"reason"`
	Message string    `json:"message"`
}
