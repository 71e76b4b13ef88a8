package api

// Resources holds limits and devices. Zero means the engine's default.
type Resources struct {
	NanoCPUs          int64           `json:"nanoCPUs,omitzero"` // billionths of a CPU
	CPUShares         int64           `json:"cpuShares,omitzero"`
	CPUPeriod         int64           `json:"cpuPeriod,omitzero"`    // microseconds
	CPUQuota          int64           `json:"cpuQuota,omitzero"`     // microseconds
	CPURTPeriod       int64           `json:"cpuRTPeriod,omitzero"`  // microseconds
	CPURTRuntime      int64           `json:"cpuRTRuntime,omitzero"` // microseconds
	CPUCount          int64           `json:"cpuCount,omitzero"`
	CPUPercent        int64           `json:"cpuPercent,omitzero"` // percent * 100
	CpusetCpus        string          `json:"cpusetCpus,omitzero"`
	CgroupParent      string          `json:"cgroupParent,omitzero"`
	Memory            int64           `json:"memory,omitzero"`            // bytes
	MemoryReservation int64           `json:"memoryReservation,omitzero"` // bytes
	MemorySwap        int64           `json:"memorySwap,omitzero"`        // bytes, -1 unlimited
	MemorySwappiness  *int64          `json:"memorySwappiness,omitzero"`
	PidsLimit         *int64          `json:"pidsLimit,omitzero"`
	Ulimits           []Ulimit        `json:"ulimits,omitzero"` // sorted by name
	Devices           []Device        `json:"devices,omitzero"`
	DeviceCgroupRules []string        `json:"deviceCgroupRules,omitzero"`
	DeviceRequests    []DeviceRequest `json:"deviceRequests,omitzero"`
	Blkio             *Blkio          `json:"blkio,omitzero"`
}

// Ulimit is one resource limit of the process.
type Ulimit struct {
	Name string `json:"name,omitzero"`
	Soft int64  `json:"soft,omitzero"`
	Hard int64  `json:"hard,omitzero"`
}

// Device maps a host device. Permissions default to "rwm".
type Device struct {
	Source      string `json:"source,omitzero"`
	Target      string `json:"target,omitzero"`
	Permissions string `json:"permissions,omitzero"`
}

// DeviceRequest asks a device driver (nvidia, cdi) for devices. Count -1 means all.
type DeviceRequest struct {
	Driver       string            `json:"driver,omitzero"`
	Count        int               `json:"count,omitzero"`
	DeviceIDs    []string          `json:"deviceIDs,omitzero"`
	Capabilities [][]string        `json:"capabilities,omitzero"`
	Options      map[string]string `json:"options,omitzero"`
}

// Blkio holds block I/O weights and limits.
type Blkio struct {
	Weight          uint16        `json:"weight,omitzero"`
	WeightDevice    []BlkioWeight `json:"weightDevice,omitzero"`
	DeviceReadBps   []BlkioLimit  `json:"deviceReadBps,omitzero"`  // bytes per second
	DeviceWriteBps  []BlkioLimit  `json:"deviceWriteBps,omitzero"` // bytes per second
	DeviceReadIOps  []BlkioLimit  `json:"deviceReadIOps,omitzero"`
	DeviceWriteIOps []BlkioLimit  `json:"deviceWriteIOps,omitzero"`
}

// BlkioWeight is the weight of one device.
type BlkioWeight struct {
	Path   string `json:"path,omitzero"`
	Weight uint16 `json:"weight,omitzero"`
}

// BlkioLimit is the rate limit of one device.
type BlkioLimit struct {
	Path string `json:"path,omitzero"`
	Rate int64  `json:"rate,omitzero"`
}
