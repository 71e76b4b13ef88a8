package plan

import (
	"cmp"
	"slices"

	"ktrdr.io/fleet/pkg/api"
)

func normalResources(r api.Resources) api.Resources {
	if r.PidsLimit != nil && *r.PidsLimit <= 0 {
		r.PidsLimit = nil
	}
	if r.MemorySwappiness != nil && *r.MemorySwappiness < 0 {
		r.MemorySwappiness = nil
	}
	r.Ulimits = slices.Clone(r.Ulimits)
	slices.SortFunc(r.Ulimits, func(a, b api.Ulimit) int { return cmp.Compare(a.Name, b.Name) })
	r.Devices = slices.Clone(r.Devices)
	for i, device := range r.Devices {
		r.Devices[i].Target = cmp.Or(device.Target, device.Source)
		r.Devices[i].Permissions = cmp.Or(device.Permissions, "rwm")
	}
	slices.SortFunc(r.Devices, func(a, b api.Device) int { return cmp.Compare(a.Target, b.Target) })
	r.DeviceCgroupRules = sorted(r.DeviceCgroupRules)
	if b := r.Blkio; b != nil && b.Weight == 0 && len(b.WeightDevice) == 0 && len(b.DeviceReadBps) == 0 &&
		len(b.DeviceWriteBps) == 0 && len(b.DeviceReadIOps) == 0 && len(b.DeviceWriteIOps) == 0 {
		r.Blkio = nil
	}
	return r
}

// sameSwap knows what engines make of a memory+swap limit that was not given (twice the
// memory) and that kernels without swap accounting know no limit at all.
func sameSwap(have, want api.Resources) bool {
	if have.MemorySwap == want.MemorySwap || have.MemorySwap == -1 {
		return true
	}
	return want.MemorySwap == 0 && have.MemorySwap == 2*have.Memory
}
