package engine

import (
	"cmp"
	"slices"

	"github.com/moby/moby/api/types/blkiodev"
	"github.com/moby/moby/api/types/container"

	"ktrdr.io/fleet/pkg/api"
)

func readResources(r container.Resources) api.Resources {
	read := api.Resources{
		NanoCPUs: r.NanoCPUs, CPUShares: r.CPUShares, CPUPeriod: r.CPUPeriod, CPUQuota: r.CPUQuota,
		CPURTPeriod: r.CPURealtimePeriod, CPURTRuntime: r.CPURealtimeRuntime,
		CPUCount: r.CPUCount, CPUPercent: r.CPUPercent, CpusetCpus: r.CpusetCpus, CgroupParent: r.CgroupParent,
		Memory: r.Memory, MemoryReservation: r.MemoryReservation, MemorySwap: r.MemorySwap,
		MemorySwappiness: r.MemorySwappiness, PidsLimit: r.PidsLimit,
		DeviceCgroupRules: r.DeviceCgroupRules,
		Blkio:             readBlkio(r),
	}
	for _, limit := range r.Ulimits {
		if limit != nil {
			read.Ulimits = append(read.Ulimits, api.Ulimit{Name: limit.Name, Soft: limit.Soft, Hard: limit.Hard})
		}
	}
	slices.SortFunc(read.Ulimits, func(a, b api.Ulimit) int { return cmp.Compare(a.Name, b.Name) })
	for _, device := range r.Devices {
		read.Devices = append(read.Devices, api.Device{
			Source: device.PathOnHost, Target: device.PathInContainer, Permissions: device.CgroupPermissions,
		})
	}
	for _, request := range r.DeviceRequests {
		read.DeviceRequests = append(read.DeviceRequests, api.DeviceRequest{
			Driver: request.Driver, Count: request.Count, DeviceIDs: request.DeviceIDs,
			Capabilities: request.Capabilities, Options: request.Options,
		})
	}
	return read
}

func readBlkio(r container.Resources) *api.Blkio {
	read := api.Blkio{
		Weight:          r.BlkioWeight,
		DeviceReadBps:   readThrottles(r.BlkioDeviceReadBps),
		DeviceWriteBps:  readThrottles(r.BlkioDeviceWriteBps),
		DeviceReadIOps:  readThrottles(r.BlkioDeviceReadIOps),
		DeviceWriteIOps: readThrottles(r.BlkioDeviceWriteIOps),
	}
	for _, device := range r.BlkioWeightDevice {
		if device != nil {
			read.WeightDevice = append(read.WeightDevice, api.BlkioWeight{Path: device.Path, Weight: device.Weight})
		}
	}
	set := read.Weight != 0 || len(read.WeightDevice) > 0 || len(read.DeviceReadBps) > 0 ||
		len(read.DeviceWriteBps) > 0 || len(read.DeviceReadIOps) > 0 || len(read.DeviceWriteIOps) > 0
	if !set {
		return nil
	}
	return &read
}

func readThrottles(devices []*blkiodev.ThrottleDevice) []api.BlkioLimit {
	var limits []api.BlkioLimit
	for _, device := range devices {
		if device != nil {
			limits = append(limits, api.BlkioLimit{Path: device.Path, Rate: int64(min(device.Rate, 1<<63-1))})
		}
	}
	return limits
}
