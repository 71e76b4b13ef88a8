package compose

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"

	"ktrdr.io/fleet/pkg/api"
)

// resources maps limits and devices; deploy.resources wins over the older attributes.
// Source: docker/compose getDeployResources, with its float32 arithmetic.
func (m *mapper) resources(s *types.ServiceConfig, spec *api.ContainerSpec) {
	r := &spec.Resources
	*r = api.Resources{
		CgroupParent: s.CgroupParent,
		Memory:       int64(s.MemLimit), MemorySwap: int64(s.MemSwapLimit), MemoryReservation: int64(s.MemReservation),
		CPUCount: s.CPUCount, CPUPercent: int64(s.CPUPercent * 100),
		CPUPeriod: s.CPUPeriod, CPUQuota: s.CPUQuota, CPURTPeriod: s.CPURTPeriod, CPURTRuntime: s.CPURTRuntime,
		CPUShares: s.CPUShares, NanoCPUs: int64(s.CPUS * 1e9), CpusetCpus: s.CPUSet,
		DeviceCgroupRules: items(s.DeviceCgroupRules), Blkio: blkio(s.BlkioConfig), Ulimits: ulimits(s.Ulimits),
	}
	if s.MemSwappiness != 0 {
		swappiness := int64(s.MemSwappiness)
		r.MemorySwappiness = &swappiness
	}
	if s.PidsLimit != 0 {
		pids := s.PidsLimit
		r.PidsLimit = &pids
	}
	if s.Deploy != nil {
		limits(s.Deploy.Resources.Limits, r)
		m.reservations(at(s.Name)+".deploy.resources.reservations", s.Deploy.Resources.Reservations, r)
	}
	devices(s, r)
	for i, gpus := range s.Gpus {
		m.deviceCount(fmt.Sprintf("%s.gpus[%d]", at(s.Name), i), gpus)
		request := deviceRequest(gpus)
		request.Capabilities = [][]string{append(slices.Clone(gpus.Capabilities), "gpu")}
		r.DeviceRequests = append(r.DeviceRequests, request)
	}
}

func limits(limits *types.Resource, r *api.Resources) {
	if limits == nil {
		return
	}
	if limits.MemoryBytes != 0 {
		r.Memory = int64(limits.MemoryBytes)
	}
	if limits.NanoCPUs != 0 {
		r.NanoCPUs = int64(limits.NanoCPUs * 1e9)
	}
	if limits.Pids > 0 {
		pids := limits.Pids
		r.PidsLimit = &pids
	}
}

func (m *mapper) reservations(place string, reservations *types.Resource, r *api.Resources) {
	if reservations == nil {
		return
	}
	if reservations.MemoryBytes != 0 {
		r.MemoryReservation = int64(reservations.MemoryBytes)
	}
	for i, device := range reservations.Devices {
		m.deviceCount(fmt.Sprintf("%s.devices[%d]", place, i), device)
		request := deviceRequest(device)
		request.Capabilities = [][]string{slices.Clone(device.Capabilities)}
		r.DeviceRequests = append(r.DeviceRequests, request)
	}
}

func (m *mapper) deviceCount(place string, device types.DeviceRequest) {
	if device.Count != 0 && len(device.IDs) > 0 {
		m.found.errorf(place, "count and device_ids exclude each other")
	}
}

func deviceRequest(device types.DeviceRequest) api.DeviceRequest {
	return api.DeviceRequest{
		Driver: device.Driver, Count: int(device.Count), DeviceIDs: items(device.IDs), Options: texts(device.Options),
	}
}

// cdiName is a qualified CDI device, vendor/class=name. Source: the CDI specification.
var cdiName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]*/[A-Za-z][A-Za-z0-9_-]*=[A-Za-z0-9][A-Za-z0-9_.:-]*$`)

// devices maps host devices; CDI names become one request of the cdi driver.
func devices(s *types.ServiceConfig, r *api.Resources) {
	var cdi []string
	for _, device := range s.Devices {
		if device.Source == device.Target && cdiName.MatchString(device.Source) {
			cdi = append(cdi, device.Source)
			continue
		}
		r.Devices = append(r.Devices, api.Device{
			Source: device.Source, Target: device.Target, Permissions: device.Permissions,
		})
	}
	if len(cdi) > 0 {
		r.DeviceRequests = append(r.DeviceRequests, api.DeviceRequest{Driver: "cdi", DeviceIDs: cdi})
	}
}

func ulimits(limits map[string]*types.UlimitsConfig) []api.Ulimit {
	var out []api.Ulimit
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		limit := limits[name]
		soft, hard := limit.Single, limit.Single
		if limit.Soft != 0 {
			soft = limit.Soft
		}
		if limit.Hard != 0 {
			hard = limit.Hard
		}
		out = append(out, api.Ulimit{Name: name, Soft: int64(soft), Hard: int64(hard)})
	}
	return out
}

func blkio(config *types.BlkioConfig) *api.Blkio {
	if config == nil {
		return nil
	}
	out := &api.Blkio{
		Weight:        config.Weight,
		DeviceReadBps: rates(config.DeviceReadBps), DeviceWriteBps: rates(config.DeviceWriteBps),
		DeviceReadIOps: rates(config.DeviceReadIOps), DeviceWriteIOps: rates(config.DeviceWriteIOps),
	}
	for _, device := range config.WeightDevice {
		out.WeightDevice = append(out.WeightDevice, api.BlkioWeight{Path: device.Path, Weight: device.Weight})
	}
	return out
}

func rates(devices []types.ThrottleDevice) []api.BlkioLimit {
	var out []api.BlkioLimit
	for _, device := range devices {
		out = append(out, api.BlkioLimit{Path: device.Path, Rate: int64(device.Rate)})
	}
	return out
}
