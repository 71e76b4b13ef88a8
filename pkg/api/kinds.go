package api

import "time"

// Header opens every own kind of desired state.
type Header struct {
	APIVersion string   `json:"apiVersion"` // ktrdr.io/v1alpha1
	Kind       string   `json:"kind"`       // Fleet, Node or Stack
	Metadata   Metadata `json:"metadata"`
}

// Metadata names an object.
type Metadata struct {
	// Name is a DNS label: lower case letters, digits and "-", at most 63.
	Name string `json:"name"`
}

// FleetFile is fleet.yaml.
type FleetFile struct {
	Header `json:",inline"`
	Spec   FleetSpec `json:"spec"`
}

// FleetSpec holds what all nodes share.
type FleetSpec struct {
	// Variables are the weakest: nodes and stacks override them.
	Variables map[string]string `json:"variables,omitzero"`
	// Registries hold credentials by host, as secret references.
	Registries []RegistrySpec `json:"registries,omitzero"`
}

// RegistrySpec is the login of one registry.
type RegistrySpec struct {
	Host     string `json:"host"`
	Username string `json:"username,omitzero"`
	// Password must be a secret reference.
	Password string `json:"password,omitzero"`
}

// NodeFile is nodes/<name>.yaml.
type NodeFile struct {
	Header `json:",inline"`
	Spec   NodeSpec `json:"spec"`
}

// NodeSpec describes one Docker host.
type NodeSpec struct {
	// Hostname is the name other nodes reach it by; ${NODE_HOSTNAME} in Compose files.
	Hostname string `json:"hostname,omitzero"`
	// Capacity is what admission counts with.
	Capacity Capacity `json:"capacity,omitzero"`
	// Stacks that run on the node.
	Stacks []NodeStack `json:"stacks"`
	// Variables override those of the fleet and of stacks.
	Variables map[string]string `json:"variables,omitzero"`
	// Scale is the number of running slots by pool name.
	Scale map[string]int `json:"scale,omitzero"`
	// Mounts are required by every service that binds below them.
	Mounts []MountSpec `json:"mounts,omitzero"`
}

// NodeStack places a stack on a node.
type NodeStack struct {
	Name string `json:"name"`
	// Project overrides the Compose project name on this node.
	Project string `json:"project,omitzero"`
	// AdoptFrom adds working directories whose Compose containers are taken over.
	AdoptFrom []string          `json:"adoptFrom,omitzero"`
	Variables map[string]string `json:"variables,omitzero"`
}

// Capacity of a node. Memory takes Compose's units ("14336M"). Zero means unknown.
type Capacity struct {
	CPUs   float64  `json:"cpus,omitzero"`
	Memory ByteSize `json:"memory,omitzero"`
}

// ByteSize is a size in bytes, written with Compose's units (b, k, m, g, kb, mb, gb).
type ByteSize int64

// StackFile is stacks/<name>/stack.yaml.
type StackFile struct {
	Header `json:",inline"`
	Spec   StackSpec `json:"spec"`
}

// StackSpec holds what Compose can't say.
type StackSpec struct {
	// Project is the Compose project; it may use ${NODE_NAME}. Default: the stack's name.
	Project string `json:"project,omitzero"`
	// Compose files relative to stack.yaml; later ones override. Default: compose.yaml.
	Compose []string `json:"compose,omitzero"`
	// Profiles that are always on.
	Profiles []string `json:"profiles,omitzero"`
	// WorkingDirectory on the host for relative binds that are not in the repository.
	WorkingDirectory string   `json:"workingDirectory,omitzero"`
	AdoptFrom        []string `json:"adoptFrom,omitzero"`
	// Variables feed ${…} in the Compose files. Values may be secret references.
	Variables map[string]string `json:"variables,omitzero"`
	// Contract states what variables must look like.
	Contract []VariableRule `json:"contract,omitzero"`
	// Pools are what `scale` scales, by name.
	Pools map[string]Pool `json:"pools,omitzero"`
	// Services steer the agent, by service name.
	Services map[string]ServicePolicy `json:"services,omitzero"`
	// Mounts are required by every service that binds below them.
	Mounts []MountSpec `json:"mounts,omitzero"`
	// Delivery of secrets: "env" puts values into the container's environment.
	Delivery string `json:"delivery,omitzero"`
}

// VariableRule is a rule for one variable of the stack. Values are never shown.
type VariableRule struct {
	Name      string   `json:"name"`
	Optional  bool     `json:"optional,omitzero"`
	MinLength int      `json:"minLength,omitzero"`
	Allowed   []string `json:"allowed,omitzero"`
	// Pattern is a Go regular expression that the whole value must match.
	Pattern string `json:"pattern,omitzero"`
}

// Pool is an ordered list of slots: either existing services, or one template service
// with a port for each slot.
type Pool struct {
	// Services are existing services in slot order; a slot turns its service on
	// whatever its profiles say.
	Services []string `json:"services,omitzero"`
	// Template is a service that is stamped once per slot with ${REPLICA} and ${PORT}.
	Template string `json:"template,omitzero"`
	// Ports by slot; slots beyond the list count on from NextPort.
	Ports    []int `json:"ports,omitzero"`
	NextPort int   `json:"nextPort,omitzero"`
	// Default number of running slots where a node says nothing.
	Default int `json:"default,omitzero"`
	Max     int `json:"max,omitzero"`
}

// ServicePolicy is what Compose can't say about a service.
type ServicePolicy struct {
	Probe      *ProbeSpec      `json:"probe,omitzero"`
	Protection *ProtectionSpec `json:"protection,omitzero"`
	// Job overrides whether the service is expected to end with exit code 0.
	Job *bool `json:"job,omitzero"`
}

// ProbeSpec is a check by the agent. Exactly one of HTTP, TCP and Exec is set.
type ProbeSpec struct {
	HTTP     *HTTPProbe `json:"http,omitzero"`
	TCP      *TCPProbe  `json:"tcp,omitzero"`
	Exec     []string   `json:"exec,omitzero"`
	Interval Duration   `json:"interval,omitzero"` // default 10s
	Timeout  Duration   `json:"timeout,omitzero"`  // default 3s
	Failures int        `json:"failures,omitzero"` // default 3
}

// Duration is a time.Duration written as "1m30s".
type Duration time.Duration

// ProtectionSpec guards data in a container.
type ProtectionSpec struct {
	DataPaths        []string `json:"dataPaths,omitzero"`
	MaxWritableLayer ByteSize `json:"maxWritableLayer,omitzero"`
}

// MountSpec is a mount of the host that must be there for real.
type MountSpec struct {
	Path     string   `json:"path"`
	Type     string   `json:"type,omitzero"`
	Writable bool     `json:"writable,omitzero"`
	GID      *int     `json:"gid,omitzero"`
	Timeout  Duration `json:"timeout,omitzero"` // default 5s
}
