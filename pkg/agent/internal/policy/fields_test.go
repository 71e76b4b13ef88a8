package policy_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/agent/internal/policy"
	"ktrdr.io/fleet/pkg/api"
)

// probed are the fields that give a container power over the host, each with a use of it
// and the rule that has to speak.
func probed() map[string]struct {
	rule string
	use  func(*api.ContainerSpec)
} {
	type probe = struct {
		rule string
		use  func(*api.ContainerSpec)
	}
	return map[string]probe{
		"Image":        {"images", func(s *api.ContainerSpec) { s.Image = "ghcr.io/x/y" }},
		"Env":          {"references", func(s *api.ContainerSpec) { s.Env = []string{"A=" + api.Placeholder("op://v/i/f")} }},
		"NetworkMode":  {"privileges.hostNamespaces", func(s *api.ContainerSpec) { s.NetworkMode = "host" }},
		"PidMode":      {"containers", func(s *api.ContainerSpec) { s.PidMode = "container:other" }},
		"IpcMode":      {"privileges.hostNamespaces", func(s *api.ContainerSpec) { s.IpcMode = "host" }},
		"UTSMode":      {"privileges.hostNamespaces", func(s *api.ContainerSpec) { s.UTSMode = "host" }},
		"UsernsMode":   {"privileges.hostNamespaces", func(s *api.ContainerSpec) { s.UsernsMode = "host" }},
		"CgroupnsMode": {"privileges.hostNamespaces", func(s *api.ContainerSpec) { s.CgroupnsMode = "host" }},
		"Mounts":       {"hostPaths", func(s *api.ContainerSpec) { s.Mounts = []api.Mount{{Type: "bind", Source: "/etc", Target: "/x"}} }},
		"VolumesFrom":  {"containers", func(s *api.ContainerSpec) { s.VolumesFrom = []string{"container:db:ro"} }},
		"VolumeDriver": {"privileges.volumeDrivers", func(s *api.ContainerSpec) { s.VolumeDriver = "rclone" }},
		"ExternalLinks": {
			"containers", func(s *api.ContainerSpec) { s.ExternalLinks = []string{"traefik:proxy"} },
		},
		"CapAdd":        {"privileges.capabilities", func(s *api.ContainerSpec) { s.CapAdd = []string{"SYS_ADMIN"} }},
		"Privileged":    {"privileges.privileged", func(s *api.ContainerSpec) { s.Privileged = true }},
		"SecurityOpt":   {"privileges.securityOpt", func(s *api.ContainerSpec) { s.SecurityOpt = []string{"seccomp:unconfined"} }},
		"UnmaskedPaths": {"privileges.securityOpt", func(s *api.ContainerSpec) { s.UnmaskedPaths = true }},
		"Runtime":       {"privileges.runtimes", func(s *api.ContainerSpec) { s.Runtime = "kata" }},
		"Annotations":   {"privileges.annotations", func(s *api.ContainerSpec) { s.Annotations = map[string]string{"org.systemd.property.X": "1"} }},
		"Logging":       {"privileges.logDrivers", func(s *api.ContainerSpec) { s.Logging = &api.Logging{Driver: "syslog"} }},

		"Resources.CgroupParent":      {"privileges.cgroupParents", func(s *api.ContainerSpec) { s.Resources.CgroupParent = "system.slice" }},
		"Resources.Devices":           {"privileges.devices", func(s *api.ContainerSpec) { s.Resources.Devices = []api.Device{{Source: "/dev/sda"}} }},
		"Resources.DeviceCgroupRules": {"privileges.devices", func(s *api.ContainerSpec) { s.Resources.DeviceCgroupRules = []string{"b 8:* rwm"} }},
		"Resources.DeviceRequests":    {"privileges.devices", func(s *api.ContainerSpec) { s.Resources.DeviceRequests = []api.DeviceRequest{{Count: -1}} }},
	}
}

// harmless are the fields that need no rule, each with the reason.
func harmless() map[string]string {
	const (
		inside   = "acts inside the container only; references in it are checked"
		identity = "a name or address on the container's own networks, whose drivers have a rule"
		less     = "takes something away"
		share    = "a share of the node, not power over it; admission and the engine bound it"
	)
	return map[string]string{
		"Platform": "chooses among the images of an allowed name",
		"Command":  inside, "Entrypoint": inside, "Labels": inside, "WorkingDir": inside, "TTY": inside, "StdinOpen": inside,
		"StopSignal": inside, "StopGrace": inside, "Healthcheck": inside, "Restart": inside, "Init": inside, "Files": inside,
		"User":     "root inside of a container that has no privileges and no host paths beyond the rules",
		"GroupAdd": "counts only for host paths and devices, which have rules",
		"Hostname": identity, "Domainname": identity, "Expose": identity, "Endpoints": identity, "Links": identity, "DNS": identity,
		"DNSOptions": identity, "DNSSearch": identity, "ExtraHosts": identity, "MacAddress": identity,
		"Ports":   "listens on the host, as every service does; admission finds conflicts",
		"Tmpfs":   "memory of the container",
		"CapDrop": less, "ReadOnly": less,
		"Isolation":   "Windows only",
		"ShmSize":     share,
		"StorageOpt":  "bounds the writable layer",
		"Sysctls":     "the engine refuses those that are not the container's own",
		"OomScoreAdj": share, "OomKillDisable": share,

		"Resources.NanoCPUs": share, "Resources.CPUShares": share, "Resources.CPUPeriod": share, "Resources.CPUQuota": share,
		"Resources.CPURTPeriod": share, "Resources.CPURTRuntime": share, "Resources.CPUCount": share, "Resources.CPUPercent": share,
		"Resources.CpusetCpus": share, "Resources.Memory": share, "Resources.MemoryReservation": share, "Resources.MemorySwap": share,
		"Resources.MemorySwappiness": share, "Resources.PidsLimit": share, "Resources.Ulimits": share, "Resources.Blkio": share,
	}
}

// specFields are the fields of a container's spec, those of its resources one by one.
func specFields() []string {
	var names []string
	for field := range reflect.TypeFor[api.ContainerSpec]().Fields() {
		if field.Name != "Resources" {
			names = append(names, field.Name)
			continue
		}
		for sub := range field.Type.Fields() {
			names = append(names, "Resources."+sub.Name)
		}
	}
	return names
}

// TestEveryFieldIsConsidered fails for a new field of the spec until somebody decided what
// the policy says about it.
func TestEveryFieldIsConsidered(t *testing.T) {
	checked, free := probed(), harmless()
	fields := specFields()
	for _, name := range fields {
		probe, isChecked := checked[name]
		reason, isFree := free[name]
		switch {
		case isChecked == isFree:
			t.Errorf("%s: give it a rule of the policy, or list it as harmless with a reason", name)
		case isFree && len(reason) < 10:
			t.Errorf("%s: %q is no reason", name, reason)
		case isChecked:
			var found []string
			for _, v := range (&policy.Policy{}).Check(stackOf(probe.use), policy.Host{}) {
				found = append(found, v.Rule)
			}
			if !slices.Contains(found, probe.rule) {
				t.Errorf("%s: a policy that allows nothing says %v, want %s", name, found, probe.rule)
			}
		}
	}
	for name := range checked {
		if !slices.Contains(fields, name) {
			t.Errorf("%s is no field", name)
		}
	}
	for name := range free {
		if !slices.Contains(fields, name) {
			t.Errorf("%s is no field", name)
		}
	}
}

// TestNoReferenceInDecidedFields: a value that is seen by nobody before the container is
// made must not be what a rule speaks about.
func TestNoReferenceInDecidedFields(t *testing.T) {
	p := parse(t, "references: ['op://**']\nregistries: ['**']\nimages: ['**']\nhostPaths: [{path: /, writable: true}]\ncontainers: ['**']\n"+
		"privileges: {privileged: true, dockerSocket: true, capabilities: [ALL], devices: ['**'], hostNamespaces: [pid], securityOpt: ['**'], "+
		"cgroupParents: ['**'], runtimes: ['**'], volumeDrivers: ['**'], networkDrivers: ['**'], logDrivers: ['**'], annotations: ['**']}\n")
	mark := api.Placeholder("op://v/i/f")
	for name := range probed() {
		if name == "Env" || name == "Privileged" || name == "UnmaskedPaths" {
			continue // holds references by purpose, or no text
		}
		stack := stackOf(func(s *api.ContainerSpec) {
			field := reflect.ValueOf(s).Elem()
			for part := range strings.SplitSeq(name, ".") {
				field = field.FieldByName(part)
			}
			fill(field, mark)
		})
		if !slices.ContainsFunc(p.Check(stack, policy.Host{}), func(v policy.Violation) bool {
			return v.Rule == "references" && strings.Contains(v.Fix, "plain value")
		}) {
			t.Errorf("%s may hide its value in a secret", name)
		}
	}
}

// fill puts text into every string below a value.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(field, text)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value, text)
		v.SetMapIndex(reflect.ValueOf("key"), value)
	default:
	}
}

// everything is a stack that uses each of the probed fields once.
func everything() *api.Stack {
	stack := &api.Stack{
		Networks: []api.NetworkSpec{{Key: "n", Driver: "macvlan"}},
		Volumes: []api.VolumeSpec{
			{Key: "v", Driver: "rclone"},
			{Key: "w", DriverOpts: map[string]string{"type": "nfs", "o": "addr=x"}},
			{Key: "x", DriverOpts: map[string]string{"o": "bind", "device": "/srv"}},
		},
		Mounts: []api.RequiredMount{{Path: "/mnt/x y"}},
	}
	for name, probe := range probed() {
		spec := api.ContainerSpec{Image: "redis"}
		probe.use(&spec)
		stack.Services = append(stack.Services, api.Service{
			Name: strings.ToLower(fmt.Sprint("s", name)), Replicas: []api.Replica{{Spec: spec}},
			PostStart: []api.Hook{{Privileged: true}},
		})
	}
	return stack
}
