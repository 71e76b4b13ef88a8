package api

import "time"

// Desired is the validated state that one node shall have. It holds references to
// secrets, never values, and is safe to keep on disk. It is immutable once built.
type Desired struct {
	Revision string `json:"revision"`
	Node     string `json:"node"`
	// Stacks are sorted by name.
	Stacks []Stack `json:"stacks,omitzero"`
	// Registries hold credentials as references.
	Registries []Registry `json:"registries,omitzero"`
	// Backups that are watched for the node as a whole, sorted by name.
	Backups []Backup `json:"backups,omitzero"`
	// Root is the absolute folder of the immutable repository tree that RepoSource
	// paths are relative to.
	Root string `json:"-"`
}

// Stack is one Compose project on one node.
type Stack struct {
	Name    string `json:"name"`
	Project string `json:"project"`
	// WorkingDir and ConfigFiles are written into Compose's labels so that
	// `docker compose ls` and friends work.
	WorkingDir  string   `json:"workingDir,omitzero"`
	ConfigFiles []string `json:"configFiles,omitzero"`
	// AdoptFrom lists working directories whose Compose containers of this project
	// are ours to take over. Containers of other directories are foreign.
	AdoptFrom []string `json:"adoptFrom,omitzero"`
	// Services are sorted by name and hold only what is enabled (profiles, scale).
	Services []Service     `json:"services,omitzero"`
	Networks []NetworkSpec `json:"networks,omitzero"` // sorted by key
	Volumes  []VolumeSpec  `json:"volumes,omitzero"`  // sorted by key
	// Mounts must be there before a service that binds below them is started.
	Mounts []RequiredMount `json:"mounts,omitzero"`
	// Backups of the stack that are watched, sorted by name.
	Backups []Backup `json:"backups,omitzero"`
	// Contract holds the rules that can be checked only once secrets are resolved,
	// sorted by name.
	Contract []ContractRule `json:"contract,omitzero"`
	// Delivery of secrets: DeliveryEnv, or empty for files.
	Delivery string `json:"delivery,omitzero"`
	// Digest is SumDigest(), computed once; it tells whether a revision changes the stack.
	Digest string `json:"digest,omitzero"`
}

// ContractRule is a rule about a value that holds secret placeholders: expand Value, then
// check Rule. A failure names the rule's variable, never the value.
type ContractRule struct {
	Rule  VariableRule `json:"rule"`
	Value string       `json:"value"`
}

// Service returns the service of that name, or nil.
func (s *Stack) Service(name string) *Service {
	for i := range s.Services {
		if s.Services[i].Name == name {
			return &s.Services[i]
		}
	}
	return nil
}

// Service is a Compose service: its replicas, and what steers the agent. Nothing in
// it outside of Replicas recreates a container.
type Service struct {
	Name string `json:"name"`
	// Pool is the pool that the service belongs to, if any.
	Pool     string    `json:"pool,omitzero"`
	Replicas []Replica `json:"replicas,omitzero"` // ascending Number

	DependsOn  []Dependency `json:"dependsOn,omitzero"` // sorted by Service
	PullPolicy PullPolicy   `json:"pullPolicy,omitzero"`
	// Job says that the service is expected to end with exit code 0 and is not run
	// again while its spec stays the same.
	Job bool `json:"job,omitzero"`
	// OwnHealthcheck says that the Compose file declares the healthcheck; one that is
	// merely inherited from the image never restarts a container.
	OwnHealthcheck bool       `json:"ownHealthcheck,omitzero"`
	Probe          *Probe     `json:"probe,omitzero"`
	Protection     Protection `json:"protection,omitzero"`
	Update         Update     `json:"update,omitzero"`
	// Rollback is Compose's deploy.rollback_config; nil means one replica at a time, the old
	// one first, and repairs that go on.
	Rollback  *Update `json:"rollback,omitzero"`
	PostStart []Hook  `json:"postStart,omitzero"`
	PreStop   []Hook  `json:"preStop,omitzero"`
	// Keeps are the secrets that the service applies at its first start only, by reference.
	Keeps []KeptSecret `json:"keeps,omitzero"`
}

// Replica is one wanted container.
type Replica struct {
	// Number is Compose's container-number, from 1.
	Number int           `json:"number"`
	Name   string        `json:"name"`
	Spec   ContainerSpec `json:"spec"`
	// SpecHash is Spec.Hash(), computed once.
	SpecHash string `json:"specHash"`
	// SecretRefs are the distinct references that Spec uses, sorted.
	SecretRefs []string `json:"secretRefs,omitzero"`
	// Registration says where it is to be found once it has registered itself, if anywhere.
	Registration *Registration `json:"registration,omitzero"`
}

// Conditions of a dependency, in Compose's words.
const (
	ServiceStarted   = "service_started"
	ServiceHealthy   = "service_healthy"
	ServiceCompleted = "service_completed_successfully"
)

// Dependency orders the start of a service after another one.
type Dependency struct {
	Service   string `json:"service"`
	Condition string `json:"condition"`
	// Restart stops this service before the dependency is recreated, and starts it after.
	Restart bool `json:"restart,omitzero"`
	// Required false lets this service start although the dependency failed or is absent.
	Required bool `json:"required,omitzero"`
}

// Pull policies in Compose's words. PullEvery is "daily", "weekly" and "every_<duration>".
const (
	PullMissing = "missing"
	PullAlways  = "always"
	PullNever   = "never"
	PullEvery   = "every"
)

// PullPolicy says when the image is fetched. Every is the period of PullEvery.
type PullPolicy struct {
	Policy string        `json:"policy,omitzero"`
	Every  time.Duration `json:"every,omitzero"`
}

// Probe is the stack's own check of a service; it wins over Docker's healthcheck.
// Exactly one of HTTP, TCP and Exec is set.
type Probe struct {
	HTTP *HTTPProbe `json:"http,omitzero"`
	TCP  *TCPProbe  `json:"tcp,omitzero"`
	Exec []string   `json:"exec,omitzero"`
	// Interval between checks while healthy, Timeout of one check.
	Interval time.Duration `json:"interval,omitzero"`
	Timeout  time.Duration `json:"timeout,omitzero"`
	// Failures in a row that make the service unhealthy.
	Failures int `json:"failures,omitzero"`
}

// HTTPProbe is healthy on a 2xx or 3xx answer. Port is the container's port; the agent
// reaches it through the published port, or the container's address.
type HTTPProbe struct {
	Port   uint16 `json:"port"`
	Path   string `json:"path,omitzero"`
	Scheme string `json:"scheme,omitzero"`
}

// TCPProbe is healthy when the port accepts a connection.
type TCPProbe struct {
	Port uint16 `json:"port"`
}

// Protection keeps a container from being recreated when data would go with it.
type Protection struct {
	// DataPaths are container paths that hold data: they must be under a mount.
	DataPaths []string `json:"dataPaths,omitzero"`
	// MaxWritableLayer in bytes; a larger writable layer blocks a recreate. 0 means
	// the default of 256 MiB, negative means no limit.
	MaxWritableLayer int64 `json:"maxWritableLayer,omitzero"`
}

// Update is Compose's deploy.update_config or deploy.rollback_config.
type Update struct {
	Parallelism int `json:"parallelism,omitzero"` // 0 means all at once
	// Delay between a replica that is ready and the next one.
	Delay time.Duration `json:"delay,omitzero"`
	// Monitor is how long after its health a failure of a container counts as one of the
	// update. 0: ten seconds, or as long as its healthcheck takes to find out.
	Monitor time.Duration `json:"monitor,omitzero"`
	Order   string        `json:"order,omitzero"` // stop-first (default) or start-first
	// FailureAction is pause, continue or rollback. Empty: rollback; of a rollback: continue.
	FailureAction string `json:"failureAction,omitzero"`
	// MaxFailureRatio is the part of a service's replicas that may fail.
	MaxFailureRatio float32 `json:"maxFailureRatio,omitzero"`
}

// Hook is a Compose lifecycle hook, run by exec in the container.
type Hook struct {
	Command    []string `json:"command"`
	User       string   `json:"user,omitzero"`
	Privileged bool     `json:"privileged,omitzero"`
	WorkingDir string   `json:"workingDir,omitzero"`
	Env        []string `json:"env,omitzero"`
}

// RequiredMount is a mount of the host that must be there for real.
type RequiredMount struct {
	Path string `json:"path"`
	// Type is the file system type as in /proc/mounts ("nfs" also matches nfs4);
	// empty accepts any mount point.
	Type     string `json:"type,omitzero"`
	Writable bool   `json:"writable,omitzero"`
	GID      *int   `json:"gid,omitzero"`
	// Timeout of one probe.
	Timeout time.Duration `json:"timeout,omitzero"`
}

// Registry holds the credentials of one registry host, as references or plain names.
type Registry struct {
	Host     string `json:"host"`
	Username string `json:"username,omitzero"`
	Password string `json:"password,omitzero"` // a Placeholder
}
