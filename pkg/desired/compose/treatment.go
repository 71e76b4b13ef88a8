package compose

import (
	"github.com/compose-spec/compose-go/v2/types"
)

// exceptions indexes what the table does not map, by section.
func exceptions() map[string][]Attribute {
	out := map[string][]Attribute{}
	for _, s := range sections() {
		out[s.path] = s.except
	}
	return out
}

// checkTreatment applies the table to a service and what is below it.
func (m *mapper) checkTreatment(s *types.ServiceConfig) {
	place := at(s.Name)
	m.treat("services.*", place, s)
	for i, port := range s.Ports {
		// compose-go says ingress where the file says nothing.
		if port.Mode == "ingress" {
			port.Mode = ""
		}
		m.treat("services.*.ports.*", m.portPath(s, i), port)
	}
	if s.Deploy == nil {
		return
	}
	place += ".deploy"
	m.treat("services.*.deploy", place, s.Deploy)
	m.treat("services.*.deploy.update_config", place+".update_config", s.Deploy.UpdateConfig)
	m.treat("services.*.deploy.update_config", place+".rollback_config", s.Deploy.RollbackConfig)
	m.treat("services.*.deploy.restart_policy", place+".restart_policy", s.Deploy.RestartPolicy)
	m.treat("services.*.deploy.placement", place+".placement", s.Deploy.Placement)
	m.treat("services.*.deploy.resources.limits", place+".resources.limits", s.Deploy.Resources.Limits)
	m.treat("services.*.deploy.resources.reservations", place+".resources.reservations", s.Deploy.Resources.Reservations)
	m.checkMode(place, s)
}

func (m *mapper) checkMode(place string, s *types.ServiceConfig) {
	switch s.Deploy.Mode {
	case "", "replicated", "replicated-job":
	case "global", "global-job":
		m.found.warnf(place+".mode", "%s means one container: a stack is put on each node by itself", s.Deploy.Mode)
	default:
		m.found.errorf(place+".mode", "%q is not one of replicated, global, replicated-job, global-job", s.Deploy.Mode)
	}
	if most := s.Deploy.Placement.MaxReplicas; most > 0 && uint64(max(s.GetScale(), 0)) > most {
		m.found.errorf(place+".placement.max_replicas_per_node", "allows %d replicas but %d are wanted", most, s.GetScale())
	}
}
