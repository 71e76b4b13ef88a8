package api

// Header opens every own kind of desired state.
type Header struct {
	// APIVersion is always ktrdr.io/v1alpha1.
	APIVersion string `json:"apiVersion"`
	// Kind is Fleet, Node or Stack.
	Kind     string   `json:"kind"`
	Metadata Metadata `json:"metadata"`
}

// Metadata names an object.
type Metadata struct {
	// Name is a DNS label: lower case letters, digits and "-", at most 63. A node has the
	// name of its file, a stack that of its folder.
	Name string `json:"name"`
	// Description is for people.
	Description string `json:"description,omitzero"`
}

// FleetFile is fleet.yaml.
type FleetFile struct {
	Header `json:",inline"`
	Spec   FleetSpec `json:"spec"`
}

// FleetSpec holds what all nodes share.
type FleetSpec struct {
	// Variables are the weakest: stacks and nodes override them.
	Variables map[string]string `json:"variables,omitzero"`
	// Registries hold credentials by host, as secret references.
	Registries []RegistrySpec `json:"registries,omitzero"`
	// PlaintextAllowed names variables whose name looks like a secret although their
	// literal value is none.
	PlaintextAllowed []string `json:"plaintextAllowed,omitzero"`
	// Rollout says in what order a controller brings a revision to the nodes.
	Rollout RolloutSpec `json:"rollout,omitzero"`
}

// RolloutSpec orders how a revision gets to the nodes. Agents without a controller ignore it.
type RolloutSpec struct {
	// Waves in their order: one begins when the one before has converged. Nodes that no wave
	// names form the last one.
	Waves []WaveSpec `json:"waves,omitzero"`
	// Timeout of each wave: one that has not converged by then fails the rollout. Default 15m.
	Timeout Duration `json:"timeout,omitzero"`
}

// WaveSpec is a set of nodes that get a revision together.
type WaveSpec struct {
	// Name is for people: letters, digits and "-".
	Name string `json:"name"`
	// Nodes by name.
	Nodes []string `json:"nodes"`
}

// RegistrySpec is the login of one registry.
type RegistrySpec struct {
	// Host as it stands in image names, such as "ghcr.io" or "registry.example:5000".
	Host string `json:"host"`
	// Username is plain or a secret reference.
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
	Stacks []NodeStack `json:"stacks,omitzero"`
	// Variables override those of the fleet and of stacks.
	Variables map[string]string `json:"variables,omitzero"`
	// Scale is the number of running slots by pool name.
	Scale map[string]int `json:"scale,omitzero"`
	// Mounts are required by every service that binds below them.
	Mounts []MountSpec `json:"mounts,omitzero"`
	// Backups that are watched on the node.
	Backups []BackupSpec `json:"backups,omitzero"`
	// PlaintextAllowed names variables whose name looks like a secret although their
	// literal value is none.
	PlaintextAllowed []string `json:"plaintextAllowed,omitzero"`
}

// NodeStack places a stack on a node.
type NodeStack struct {
	// Name of the stack.
	Name string `json:"name"`
	// Project overrides the Compose project name on this node.
	Project string `json:"project,omitzero"`
	// AdoptFrom adds working directories whose Compose containers are taken over.
	AdoptFrom []string `json:"adoptFrom,omitzero"`
	// Variables override all others for this stack on this node.
	Variables map[string]string `json:"variables,omitzero"`
}

// Capacity of a node. Zero means unknown: nothing is checked against it.
type Capacity struct {
	// CPUs of the node. The limits of its containers may add up to more (a warning),
	// a single one may not.
	CPUs float64 `json:"cpus,omitzero"`
	// Memory in Compose's units ("14336M"). The limits of all containers must fit.
	Memory ByteSize `json:"memory,omitzero"`
}

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
	// WorkingDirectory on the host for relative binds that are not in the repository, and
	// for Compose's labels. It may use variables.
	WorkingDirectory string `json:"workingDirectory,omitzero"`
	// AdoptFrom lists working directories on the host whose Compose containers of this
	// project are taken over. They may use variables.
	AdoptFrom []string `json:"adoptFrom,omitzero"`
	// Variables feed ${…} in the Compose files. Values may be secret references.
	Variables map[string]string `json:"variables,omitzero"`
	// Contract states what variables must look like.
	Contract []VariableRule `json:"contract,omitzero"`
	// PlaintextAllowed names variables and environment keys whose name looks like a
	// secret although their literal value is none.
	PlaintextAllowed []string `json:"plaintextAllowed,omitzero"`
	// Pools are what `scale` scales, by name.
	Pools map[string]Pool `json:"pools,omitzero"`
	// Services steer the agent, by service name.
	Services map[string]ServicePolicy `json:"services,omitzero"`
	// Mounts are required by every service that binds below them.
	Mounts []MountSpec `json:"mounts,omitzero"`
	// Backups of the stack that are watched.
	Backups []BackupSpec `json:"backups,omitzero"`
	// Delivery of secrets: "files" (default) keeps values out of the engine, "env" puts
	// them into the container's environment, where `docker inspect` shows them.
	Delivery string `json:"delivery,omitzero"`
}

// VariableRule is a rule for one variable. Values are never shown. Where the value is a
// secret reference, rules are checked when it is resolved.
type VariableRule struct {
	Name string `json:"name"`
	// Optional lets the variable be absent or empty.
	Optional bool `json:"optional,omitzero"`
	// MinLength in characters.
	MinLength int `json:"minLength,omitzero"`
	// Allowed lists the only values.
	Allowed []string `json:"allowed,omitzero"`
	// Pattern is a Go regular expression that the whole value must match.
	Pattern string `json:"pattern,omitzero"`
	// ReplacedBy says that the name is an old one: using it is an error that tells the
	// new name. It excludes all other rules.
	ReplacedBy string `json:"replacedBy,omitzero"`
}

// Pool is an ordered list of slots: either existing services, or one template service
// with a port for each slot.
type Pool struct {
	// Services are existing services in slot order; a slot turns its service on
	// whatever its profiles say, and the services of slots beyond the scale are off.
	Services []string `json:"services,omitzero"`
	// Template is a service that is stamped once per slot with ${REPLICA} and ${PORT}.
	Template string `json:"template,omitzero"`
	// Ports by slot of a template; slots beyond the list count on from NextPort.
	Ports []int `json:"ports,omitzero"`
	// NextPort of the first slot beyond Ports.
	NextPort int `json:"nextPort,omitzero"`
	// Default number of running slots where a node says nothing.
	Default int `json:"default,omitzero"`
	// Max is the largest scale of a node. Default: the number of services; for a template
	// the number of ports.
	Max int `json:"max,omitzero"`
	// Registration of the pool's services, where they don't have their own.
	Registration *RegistrationSpec `json:"registration,omitzero"`
}

// Delivery of secrets.
const (
	DeliveryFiles = "files"
	DeliveryEnv   = "env"
)

// ServicePolicy is what Compose can't say about a service.
type ServicePolicy struct {
	// Probe is the agent's own check; it wins over Docker's healthcheck.
	Probe *ProbeSpec `json:"probe,omitzero"`
	// Protection keeps data from going with a container.
	Protection *ProtectionSpec `json:"protection,omitzero"`
	// Environment states what the container's environment must look like.
	Environment []VariableRule `json:"environment,omitzero"`
	// Job overrides whether the service is expected to end with exit code 0.
	Job *bool `json:"job,omitzero"`
	// Rotation says how the service gets new values of secrets that it applies at its first
	// start only.
	Rotation []RotationSpec `json:"rotation,omitzero"`
	// Registration says where the service is to be found in a list of registered ones.
	Registration *RegistrationSpec `json:"registration,omitzero"`
}

// RotationSpec is about one secret of a service. Exactly one of Exec and Keep is set.
type RotationSpec struct {
	// Secret is a variable of the stack, a key of the service's environment, or a reference.
	// It stands for one secret that the service uses.
	Secret string `json:"secret"`
	// Exec is a command that makes the running service accept the new value, which is its
	// standard input. It is run again until it succeeds, also where the service has the new
	// value already.
	Exec []string `json:"exec,omitzero"`
	// User that the command runs as. Default: the container's.
	User string `json:"user,omitzero"`
	// Timeout of one run. Default 30s.
	Timeout Duration `json:"timeout,omitzero"`
	// Keep true: the service keeps the value of its first start, and no command can change
	// that; a new value is refused. Keep false: the service applies a new value at every
	// start, although its variable has a name that says otherwise.
	Keep *bool `json:"keep,omitzero"`
}

// ProbeSpec is a check by the agent. Exactly one of HTTP, TCP and Exec is set.
type ProbeSpec struct {
	HTTP *HTTPProbe `json:"http,omitzero"`
	TCP  *TCPProbe  `json:"tcp,omitzero"`
	// Exec is a command that is healthy with exit code 0.
	Exec []string `json:"exec,omitzero"`
	// Interval between checks. Default 10s.
	Interval Duration `json:"interval,omitzero"`
	// Timeout of one check. Default 3s.
	Timeout Duration `json:"timeout,omitzero"`
	// Failures in a row that make the service unhealthy. Default 3.
	Failures int `json:"failures,omitzero"`
}

// ProtectionSpec guards data in a container.
type ProtectionSpec struct {
	// DataPaths are container paths that hold data: a container is not recreated while one
	// of them is under no mount.
	DataPaths []string `json:"dataPaths,omitzero"`
	// MaxWritableLayer is the largest writable layer that may go with a container.
	// Default 256M.
	MaxWritableLayer ByteSize `json:"maxWritableLayer,omitzero"`
}

// MountSpec is a mount of the host that must be there for real.
type MountSpec struct {
	// Path of the mount point on the host, absolute. It may use variables.
	Path string `json:"path"`
	// Type of the file system as in /proc/mounts; "nfs" also means nfs4.
	Type string `json:"type,omitzero"`
	// Writable asks for a successful write.
	Writable bool `json:"writable,omitzero"`
	// GID is the group that the mount point must belong to.
	GID *int `json:"gid,omitzero"`
	// Timeout of one check. Default 5s.
	Timeout Duration `json:"timeout,omitzero"`
}
