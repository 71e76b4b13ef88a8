package engine

import (
	"errors"

	"ktrdr.io/fleet/pkg/api"
)

// need is an attribute of a spec that engines before an API version don't know. They
// would ignore it in silence.
type need struct {
	attribute string
	version   string
	used      bool
}

// checkSupport refuses a spec that asks for more than the engine knows.
func checkSupport(s *session, spec api.ContainerSpec) error {
	needs := []need{
		{"annotations", "1.43", len(spec.Annotations) > 0},
		{"healthcheck.start_interval", "1.44", spec.Healthcheck != nil && spec.Healthcheck.StartInterval != 0},
	}
	for _, m := range spec.Mounts {
		at := "volumes[" + m.Target + "]."
		needs = append(needs,
			need{at + "volume.subpath", "1.45", m.Type == api.MountVolume && m.Subpath != ""},
			need{at + "type: image", "1.48", m.Type == api.MountImage},
			need{at + "type: cluster", "1.42", m.Type == api.MountCluster},
			need{at + "bind.recursive: " + m.Recursive, "1.44", m.Recursive == "writable" || m.Recursive == "readonly"},
		)
	}
	for i, endpoint := range spec.Endpoints {
		at := "networks." + endpoint.Network + "."
		needs = append(needs,
			need{at + "gw_priority", "1.48", endpoint.GwPriority != 0},
			need{at + "interface_name", "1.49", endpoint.InterfaceName != ""},
			need{at + "mac_address (of a network that is not the first)", "1.44", i > 0 && endpoint.MacAddress != ""},
		)
	}
	var errs []error
	for _, n := range needs {
		if n.used && !s.atLeast(n.version) {
			errs = append(errs, &unsupportedError{attribute: n.attribute, needs: n.version, has: s.version})
		}
	}
	return errors.Join(errs...)
}
