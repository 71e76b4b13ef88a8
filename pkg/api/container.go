package api

import "time"

// ContainerSpec is everything that decides what the engine is asked to create for
// one container, and nothing else: it is the input of SpecHash. Fields that only
// steer the agent (dependencies, probes, update policy) live in Service.
//
// Every field is omitted from JSON when zero, so that adding a field never changes
// the hash of a spec that does not use it. nil and empty slices differ where the
// Engine API tells them apart (Command, Entrypoint).
//
// Strings may hold secret placeholders (see Placeholder); values never appear here.
type ContainerSpec struct {
	Image    string `json:"image,omitzero"`
	Platform string `json:"platform,omitzero"`

	// Command and Entrypoint: nil means the image's own, empty means none.
	Command    []string `json:"command,omitzero"`
	Entrypoint []string `json:"entrypoint,omitzero"`
	// Env is sorted; "KEY" without "=" removes KEY from the image's environment.
	Env        []string          `json:"env,omitzero"`
	Labels     map[string]string `json:"labels,omitzero"`
	User       string            `json:"user,omitzero"`
	WorkingDir string            `json:"workingDir,omitzero"`
	Hostname   string            `json:"hostname,omitzero"`
	Domainname string            `json:"domainname,omitzero"`
	TTY        bool              `json:"tty,omitzero"`
	StdinOpen  bool              `json:"stdinOpen,omitzero"`
	StopSignal string            `json:"stopSignal,omitzero"`
	// StopGrace is Compose's stop_grace_period; nil means the engine's default (10 s).
	StopGrace   *time.Duration    `json:"stopGrace,omitzero"`
	Healthcheck *Healthcheck      `json:"healthcheck,omitzero"`
	Annotations map[string]string `json:"annotations,omitzero"`

	// Expose lists container ports as "80/tcp", sorted; published ports are included.
	Expose []string `json:"expose,omitzero"`
	Ports  []Port   `json:"ports,omitzero"`

	Restart RestartPolicy `json:"restart,omitzero"`

	// NetworkMode is empty (user networks), "host", "none", "bridge", "container:X" or
	// "service:X". IpcMode and PidMode take the same container: and service: forms; the
	// planner resolves service: to the id of that service's first container.
	NetworkMode string `json:"networkMode,omitzero"`
	// Endpoints are ordered: the first is the primary network.
	Endpoints []Endpoint `json:"endpoints,omitzero"`
	// Links and ExternalLinks are "target:alias"; Links name services.
	Links         []string `json:"links,omitzero"`
	ExternalLinks []string `json:"externalLinks,omitzero"`
	DNS           []string `json:"dns,omitzero"`
	DNSOptions    []string `json:"dnsOptions,omitzero"`
	DNSSearch     []string `json:"dnsSearch,omitzero"`
	// ExtraHosts are "host:ip", sorted.
	ExtraHosts []string `json:"extraHosts,omitzero"`
	// MacAddress is the legacy service-level address; it applies to the primary network.
	MacAddress string `json:"macAddress,omitzero"`

	Mounts []Mount `json:"mounts,omitzero"`
	// Tmpfs maps container path to mount options.
	Tmpfs map[string]string `json:"tmpfs,omitzero"`
	// VolumesFrom entries are "service:X[:ro]" or "container:X[:ro]".
	VolumesFrom []string `json:"volumesFrom,omitzero"`
	// Files are configs and secrets with inline content: written into the container
	// after create and before its first start.
	Files []File `json:"files,omitzero"`

	CapAdd         []string          `json:"capAdd,omitzero"`
	CapDrop        []string          `json:"capDrop,omitzero"`
	CgroupnsMode   string            `json:"cgroupnsMode,omitzero"`
	GroupAdd       []string          `json:"groupAdd,omitzero"`
	Init           *bool             `json:"init,omitzero"`
	IpcMode        string            `json:"ipcMode,omitzero"`
	PidMode        string            `json:"pidMode,omitzero"`
	UTSMode        string            `json:"utsMode,omitzero"`
	UsernsMode     string            `json:"usernsMode,omitzero"`
	Isolation      string            `json:"isolation,omitzero"`
	Privileged     bool              `json:"privileged,omitzero"`
	ReadOnly       bool              `json:"readOnly,omitzero"`
	Runtime        string            `json:"runtime,omitzero"`
	SecurityOpt    []string          `json:"securityOpt,omitzero"`
	UnmaskedPaths  bool              `json:"unmaskedPaths,omitzero"` // security_opt systempaths=unconfined
	ShmSize        int64             `json:"shmSize,omitzero"`       // bytes
	StorageOpt     map[string]string `json:"storageOpt,omitzero"`
	Sysctls        map[string]string `json:"sysctls,omitzero"`
	VolumeDriver   string            `json:"volumeDriver,omitzero"`
	Logging        *Logging          `json:"logging,omitzero"`
	Resources      Resources         `json:"resources,omitzero"`
	OomScoreAdj    int               `json:"oomScoreAdj,omitzero"`
	OomKillDisable bool              `json:"oomKillDisable,omitzero"`
}

// Healthcheck is Compose's healthcheck. An empty Test inherits the image's test;
// Test ["NONE"] disables it. Durations of zero mean the engine's defaults.
type Healthcheck struct {
	Test          []string      `json:"test,omitzero"`
	Interval      time.Duration `json:"interval,omitzero"`
	Timeout       time.Duration `json:"timeout,omitzero"`
	StartPeriod   time.Duration `json:"startPeriod,omitzero"`
	StartInterval time.Duration `json:"startInterval,omitzero"` // needs API 1.44
	Retries       int           `json:"retries,omitzero"`
}

// Port publishes one container port. Published may be empty (ephemeral), a number or
// a range "8000-8010".
type Port struct {
	HostIP    string `json:"hostIP,omitzero"`
	Published string `json:"published,omitzero"`
	Target    uint16 `json:"target,omitzero"`
	Protocol  string `json:"protocol,omitzero"` // tcp, udp or sctp
}

// RestartPolicy is the engine's own restart policy. Name is "", "no", "always",
// "on-failure" or "unless-stopped"; MaxRetries applies to on-failure.
type RestartPolicy struct {
	Name       string `json:"name,omitzero"`
	MaxRetries int    `json:"maxRetries,omitzero"`
}

// Endpoint attaches a container to one network. Network is the engine's name of it.
type Endpoint struct {
	Network       string            `json:"network,omitzero"`
	Aliases       []string          `json:"aliases,omitzero"`
	IPv4Address   string            `json:"ipv4Address,omitzero"`
	IPv6Address   string            `json:"ipv6Address,omitzero"`
	LinkLocalIPs  []string          `json:"linkLocalIPs,omitzero"`
	MacAddress    string            `json:"macAddress,omitzero"`
	DriverOpts    map[string]string `json:"driverOpts,omitzero"`
	GwPriority    int               `json:"gwPriority,omitzero"`    // needs API 1.48
	InterfaceName string            `json:"interfaceName,omitzero"` // needs API 1.49
}

// Mount types.
const (
	MountBind      = "bind"
	MountVolume    = "volume"
	MountTmpfs     = "tmpfs"
	MountImage     = "image"
	MountNamedPipe = "npipe"
	MountCluster   = "cluster"
)

// Mount is one entry of Compose's volumes (long form), or the read-only bind that
// Compose makes of a file-based config or secret.
type Mount struct {
	Type string `json:"type,omitzero"`
	// Source is a host path (bind), the engine's volume name (volume), an image
	// reference (image), or empty (tmpfs, anonymous volume). It is empty for
	// repository files: see Repo.
	Source   string `json:"source,omitzero"`
	Target   string `json:"target,omitzero"`
	ReadOnly bool   `json:"readOnly,omitzero"`
	// Repo is set when the source is a file or folder of the desired-state
	// repository; apply materialises it and binds that copy.
	Repo        *RepoSource `json:"repo,omitzero"`
	Consistency string      `json:"consistency,omitzero"`
	// CreateHostPath is Compose's bind.create_host_path: the engine makes a missing
	// source directory. Compose's default for volumes is true.
	CreateHostPath bool              `json:"createHostPath,omitzero"`
	Propagation    string            `json:"propagation,omitzero"`
	SELinux        string            `json:"selinux,omitzero"`   // "z" or "Z"
	Recursive      string            `json:"recursive,omitzero"` // "", enabled, disabled, writable, readonly
	NoCopy         bool              `json:"noCopy,omitzero"`
	Subpath        string            `json:"subpath,omitzero"`
	VolumeLabels   map[string]string `json:"volumeLabels,omitzero"`
	TmpfsSize      int64             `json:"tmpfsSize,omitzero"` // bytes
	TmpfsMode      uint32            `json:"tmpfsMode,omitzero"`
	// Long says that Compose's long syntax was used with options that the classic
	// "src:dst:mode" string can't express, so the Mounts API carries it.
	Long bool `json:"long,omitzero"`
}

// RepoSource names a file or folder of the desired-state repository by content.
// Moving it inside the repository does not change a container.
type RepoSource struct {
	// Path is relative to the root of the repository, with slashes.
	Path string `json:"-"`
	// Digest is "sha256:<hex>" over names, modes and content.
	Digest string `json:"digest,omitzero"`
}

// File is written into the container's file system as a tar after create.
// Source: Compose's treatment of configs and secrets with content or environment.
type File struct {
	Target  string `json:"target,omitzero"`
	Content string `json:"content,omitzero"`
	Mode    uint32 `json:"mode,omitzero"` // permission bits
	UID     int    `json:"uid,omitzero"`
	GID     int    `json:"gid,omitzero"`
	// Secret says that Content must never be shown, even without placeholders.
	Secret bool `json:"secret,omitzero"`
}

// Logging is the log driver and its options.
type Logging struct {
	Driver  string            `json:"driver,omitzero"`
	Options map[string]string `json:"options,omitzero"`
}
