package api

// NetworkSpec is a network that a stack uses. An external network must exist and is
// never created, changed or removed.
type NetworkSpec struct {
	// Key is the name in the Compose file; Name is the engine's name.
	Key      string `json:"-"`
	Name     string `json:"name,omitzero"`
	External bool   `json:"external,omitzero"`

	Driver     string            `json:"driver,omitzero"`
	DriverOpts map[string]string `json:"driverOpts,omitzero"`
	IPAM       *IPAM             `json:"ipam,omitzero"`
	Internal   bool              `json:"internal,omitzero"`
	Attachable bool              `json:"attachable,omitzero"`
	EnableIPv4 *bool             `json:"enableIPv4,omitzero"` // needs API 1.48
	EnableIPv6 *bool             `json:"enableIPv6,omitzero"`
	Labels     map[string]string `json:"labels,omitzero"`
}

// IPAM configures addresses of a network.
type IPAM struct {
	Driver  string            `json:"driver,omitzero"`
	Config  []IPAMPool        `json:"config,omitzero"`
	Options map[string]string `json:"options,omitzero"`
}

// IPAMPool is one address pool in CIDR notation.
type IPAMPool struct {
	Subnet       string            `json:"subnet,omitzero"`
	Gateway      string            `json:"gateway,omitzero"`
	IPRange      string            `json:"ipRange,omitzero"`
	AuxAddresses map[string]string `json:"auxAddresses,omitzero"`
}

// VolumeSpec is a named volume that a stack uses. Volumes are created when missing
// and never deleted or recreated.
type VolumeSpec struct {
	// Key is the name in the Compose file; Name is the engine's name.
	Key      string `json:"-"`
	Name     string `json:"name,omitzero"`
	External bool   `json:"external,omitzero"`

	Driver     string            `json:"driver,omitzero"`
	DriverOpts map[string]string `json:"driverOpts,omitzero"`
	Labels     map[string]string `json:"labels,omitzero"`
}
