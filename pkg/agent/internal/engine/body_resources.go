package engine

import (
	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"

	"ktrdr.io/fleet/pkg/api"
)

// hostResources maps limits and devices; oomKillDisable is nil where it is not sent.
func hostResources(r api.Resources, oomKillDisable *bool) container.Resources {
	resources := container.Resources{
		NanoCPUs: r.NanoCPUs, CPUShares: r.CPUShares, CPUPeriod: r.CPUPeriod, CPUQuota: r.CPUQuota,
		CPURealtimePeriod: r.CPURTPeriod, CPURealtimeRuntime: r.CPURTRuntime,
		CPUCount: r.CPUCount, CPUPercent: r.CPUPercent, CpusetCpus: r.CpusetCpus, CgroupParent: r.CgroupParent,
		Memory: r.Memory, MemoryReservation: r.MemoryReservation, MemorySwap: r.MemorySwap,
		MemorySwappiness: r.MemorySwappiness, PidsLimit: r.PidsLimit, OomKillDisable: oomKillDisable,
		DeviceCgroupRules: r.DeviceCgroupRules,
	}
	for _, limit := range r.Ulimits {
		resources.Ulimits = append(resources.Ulimits, &container.Ulimit{Name: limit.Name, Soft: limit.Soft, Hard: limit.Hard})
	}
	for _, device := range r.Devices {
		permissions := device.Permissions
		if permissions == "" {
			permissions = "rwm"
		}
		resources.Devices = append(resources.Devices, container.DeviceMapping{
			PathOnHost: device.Source, PathInContainer: device.Target, CgroupPermissions: permissions,
		})
	}
	for _, request := range r.DeviceRequests {
		resources.DeviceRequests = append(resources.DeviceRequests, container.DeviceRequest{
			Driver: request.Driver, Count: request.Count, DeviceIDs: request.DeviceIDs,
			Capabilities: request.Capabilities, Options: request.Options,
		})
	}
	if b := r.Blkio; b != nil {
		resources.BlkioWeight = b.Weight
		for _, device := range b.WeightDevice {
			resources.BlkioWeightDevice = append(resources.BlkioWeightDevice, &blkiodev.WeightDevice{Path: device.Path, Weight: device.Weight})
		}
		resources.BlkioDeviceReadBps = throttles(b.DeviceReadBps)
		resources.BlkioDeviceWriteBps = throttles(b.DeviceWriteBps)
		resources.BlkioDeviceReadIOps = throttles(b.DeviceReadIOps)
		resources.BlkioDeviceWriteIOps = throttles(b.DeviceWriteIOps)
	}
	return resources
}

func throttles(limits []api.BlkioLimit) []*blkiodev.ThrottleDevice {
	var devices []*blkiodev.ThrottleDevice
	for _, limit := range limits {
		devices = append(devices, &blkiodev.ThrottleDevice{Path: limit.Path, Rate: uint64(max(limit.Rate, 0))})
	}
	return devices
}
