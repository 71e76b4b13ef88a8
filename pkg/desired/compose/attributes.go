package compose

import (
	"reflect"
	"strings"
)

// Treatment is what becomes of an attribute.
type Treatment string

// Treatments. Nothing is dropped in silence: Ignored is a warning, Refused an error.
const (
	// Mapped attributes decide what the engine is asked for, or steer the agent.
	Mapped Treatment = "mapped"
	// Ignored attributes have no effect on a running container.
	Ignored Treatment = "ignored"
	// Refused attributes can't be honoured, and leaving them out would mean something else.
	Refused Treatment = "refused"
)

// Attribute says what becomes of one attribute of a Compose file, and why.
type Attribute struct {
	// Path is like "services.*.build"; "*" stands for a name or an index.
	Path      string
	Treatment Treatment
	// Reason is there unless the attribute is mapped.
	Reason string
}

// Attributes lists every attribute that compose-go's types know, in the order of those
// types. docs/spec/compose.md is made from it; a test compares it with the types, so that
// a newer compose-go can't bring in an attribute that nobody decided on.
func Attributes() []Attribute {
	var out []Attribute
	for _, section := range sections() {
		for key := range strings.FieldsSeq(section.mapped) {
			out = append(out, Attribute{Path: section.path + "." + key, Treatment: Mapped})
		}
		for _, x := range section.except {
			out = append(out, Attribute{Path: section.path + "." + x.Path, Treatment: x.Treatment, Reason: x.Reason})
		}
	}
	return out
}

// section is one struct of compose-go's types.
type section struct {
	path   string
	mapped string
	except []Attribute // Path is the key alone
}

func sections() []section {
	return append(append(serviceSections(), deploySections()...), topSections()...)
}

func serviceSections() []section {
	return []section{
		{
			path: "services.*",
			mapped: `name profiles deploy restart scale container_name extends external_links links post_start pre_stop
				annotations blkio_config cap_add cap_drop cgroup_parent cgroup cpu_count cpu_percent cpu_period cpu_quota
				cpu_rt_period cpu_rt_runtime cpus cpuset cpu_shares command configs device_cgroup_rules devices dns dns_opt
				dns_search domainname entrypoint environment env_file extra_hosts group_add gpus hostname image init ipc
				isolation labels label_file logging mem_limit mem_reservation memswap_limit mem_swappiness mac_address
				network_mode networks oom_kill_disable oom_score_adj pid pids_limit platform privileged pull_policy
				pull_refresh_after read_only runtime secrets security_opt shm_size stop_grace_period stop_signal
				storage_opt sysctls tmpfs ulimits user userns_mode uts volumes volumes_from working_dir
				depends_on expose healthcheck ports stdin_open tty`,
			except: []Attribute{
				{"build", Ignored, "the agent does not build, it pulls the image"},
				{"develop", Ignored, "the agent does not watch source files"},
				{"attach", Ignored, "it is about the terminal of `docker compose up`"},
				{"provider", Refused, "it runs a program of the machine; describe containers instead"},
				{"models", Refused, "they need the docker model plugin; run the model as a service"},
				{"use_api_socket", Refused, "it hands the engine and its registry logins to the container; bind /var/run/docker.sock if that is meant"},
				{"credential_spec", Refused, "it is for Windows containers"},
				{"pre_start", Refused, "the engine has no such step; make it a service that this one waits for with service_completed_successfully"},
				{"umask", Refused, "the engine's API can't set it; set it in the entrypoint"},
				{"volume_driver", Refused, "it left the Compose specification; use driver in the volume's definition"},
				{"dockerfile", Refused, "it left the Compose specification; the agent does not build"},
				{"net", Refused, "it left the Compose specification; use network_mode"},
				{"log_driver", Refused, "it left the Compose specification; use logging.driver"},
				{"log_opt", Refused, "it left the Compose specification; use logging.options"},
			},
		},
		{path: "services.*.healthcheck", mapped: "test timeout interval retries start_period start_interval disable"},
		{path: "services.*.depends_on.*", mapped: "condition restart required"},
		{path: "services.*.env_file.*", mapped: "path required format"},
		{path: "services.*.logging", mapped: "driver options"},
		{path: "services.*.blkio_config", mapped: "weight weight_device device_read_bps device_read_iops device_write_bps device_write_iops"},
		{path: "services.*.devices.*", mapped: "source target permissions"},
		{path: "services.*.gpus.*", mapped: "capabilities driver count device_ids options"},
		{path: "services.*.ulimits.*", mapped: "single soft hard"},
		{path: "services.*.post_start.*", mapped: "command user privileged working_dir environment"},
		{path: "services.*.configs.*", mapped: "source target uid gid mode"},
		{path: "services.*.networks.*", mapped: `aliases driver_opts gw_priority interface_name ipv4_address ipv6_address
			link_local_ips mac_address priority use_service_name_alias`},
		{path: "services.*.ports.*", mapped: "host_ip target published protocol", except: []Attribute{
			{"name", Ignored, "the engine does not know names of ports"},
			{"app_protocol", Ignored, "the engine does not know protocols above the port"},
			{"mode", Ignored, "every port of a container is published on its host, which is mode host"},
		}},
		{path: "services.*.volumes.*", mapped: "type source target read_only consistency bind volume tmpfs image"},
		{path: "services.*.volumes.*.bind", mapped: "selinux propagation create_host_path recursive"},
		{path: "services.*.volumes.*.volume", mapped: "labels nocopy subpath"},
		{path: "services.*.volumes.*.tmpfs", mapped: "size mode"},
		{path: "services.*.volumes.*.image", mapped: "subpath"},
	}
}

func deploySections() []section {
	return []section{
		{path: "services.*.deploy", mapped: "mode replicas update_config rollback_config resources restart_policy placement", except: []Attribute{
			{"labels", Ignored, "they belong to a Swarm service; use labels for containers"},
			{"endpoint_mode", Ignored, "it is about Swarm's virtual addresses"},
		}},
		{path: "services.*.deploy.update_config", mapped: "parallelism delay failure_action monitor order max_failure_ratio"},
		{path: "services.*.deploy.restart_policy", mapped: "condition max_attempts", except: []Attribute{
			{"delay", Ignored, "the engine has its own back-off"},
			{"window", Ignored, "the engine has its own back-off"},
		}},
		{path: "services.*.deploy.placement", mapped: "max_replicas_per_node", except: []Attribute{
			{"constraints", Refused, "they choose between nodes; a stack is put on a node in nodes/<name>.yaml"},
			{"preferences", Refused, "they choose between nodes; a stack is put on a node in nodes/<name>.yaml"},
		}},
		{path: "services.*.deploy.resources", mapped: "limits reservations"},
		{path: "services.*.deploy.resources.limits", mapped: "cpus memory pids", except: []Attribute{
			{"devices", Refused, "devices belong to reservations"},
			{"generic_resources", Refused, "they need Swarm"},
		}},
		{path: "services.*.deploy.resources.reservations", mapped: "memory devices", except: []Attribute{
			{"cpus", Ignored, "the engine can't reserve CPUs"},
			{"pids", Ignored, "pids can only be limited"},
			{"generic_resources", Refused, "they need Swarm"},
		}},
	}
}

func topSections() []section {
	return []section{
		{path: "networks.*", mapped: "name driver driver_opts ipam external internal attachable labels enable_ipv4 enable_ipv6"},
		{path: "networks.*.ipam", mapped: "driver config options"},
		{path: "networks.*.ipam.config.*", mapped: "subnet gateway ip_range aux_addresses"},
		{path: "volumes.*", mapped: "name driver driver_opts external labels"},
		{path: "secrets.*", mapped: "name file environment content external", except: objectExceptions()},
		{path: "configs.*", mapped: "name file environment content external", except: objectExceptions()},
	}
}

func objectExceptions() []Attribute {
	return []Attribute{
		{"labels", Ignored, "only Swarm keeps secrets and configs as objects of their own"},
		{"driver", Refused, "drivers need Swarm; use file, or external: true with a reference as name"},
		{"driver_opts", Refused, "drivers need Swarm; use file, or external: true with a reference as name"},
		{"template_driver", Refused, "templates need Swarm; use ${…} in content"},
	}
}

// treat applies the table to one value of compose-go's types. section is its path in the
// table, place its path in the files.
func (m *mapper) treat(section, place string, value any) {
	v := reflect.Indirect(reflect.ValueOf(value))
	if !v.IsValid() {
		return
	}
	m.treatFields(m.exceptions[section], place, v)
}

// treatFields looks at the fields that are set, in embedded structs as well.
func (m *mapper) treatFields(exceptions []Attribute, place string, v reflect.Value) {
	if len(exceptions) == 0 || v.Kind() != reflect.Struct {
		return
	}
	for i := range v.NumField() {
		field := v.Field(i)
		if empty(field) {
			continue
		}
		name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if v.Type().Field(i).Anonymous && options == "inline" {
			m.treatFields(exceptions, place, field)
			continue
		}
		for _, a := range exceptions {
			if a.Path != name {
				continue
			}
			at := place + "." + a.Path
			if a.Treatment == Refused {
				m.found.errorf(at, "is not supported: %s", a.Reason)
			} else {
				m.found.warnf(at, "has no effect: %s", a.Reason)
			}
		}
	}
}

// empty also takes an empty list or mapping for not set.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	default:
		return v.IsZero()
	}
}
