package desired

import (
	"encoding/json"
	"regexp"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// checkDelivered refuses references in places that a delivery as files can't keep secret:
// ktrdr-exec fills in environment and healthcheck, and what else a spec says stands in
// `docker inspect`.
func (b *stackBuild) checkDelivered(service *api.Service) {
	if b.stack.Spec.Delivery == api.DeliveryEnv || len(service.Replicas) == 0 {
		return
	}
	spec := service.Replicas[0].Spec
	at := func(field string) Problem { return b.files.at("services." + service.Name + "." + field) }
	for _, program := range []struct {
		field string
		words []string
	}{{"entrypoint", spec.Entrypoint}, {"command", spec.Command}} {
		if len(api.References(strings.Join(program.words, " "))) > 0 {
			b.fail(at(program.field), "holds a secret, which every user of the host could read off the process list: "+
				"pass it in `environment`, or as a file of `secrets` (NAME_FILE: /run/secrets/name), or set `delivery: env` in stack.yaml")
		}
	}
	if check := spec.Healthcheck; check != nil && len(check.Test) > 1 && check.Test[0] == "CMD" && !isShell(check.Test[1]) &&
		len(api.References(strings.Join(check.Test[1:], " "))) > 0 {
		warning := at("healthcheck.test")
		warning.Message = "holds a secret, which shows in the process list while the check runs: let the command read it from the environment"
		b.node.report.warn(warning)
	}
	spec.Entrypoint, spec.Command, spec.Env, spec.Files = nil, nil, nil, nil
	if spec.Healthcheck != nil {
		spec.Healthcheck = &api.Healthcheck{}
	}
	for _, field := range fieldsWithReferences(&spec) {
		b.fail(at(field), "holds a secret, which would stand in `docker inspect` and on Docker's disk: "+
			"only environment, healthcheck, configs, secrets and hooks can have one, unless stack.yaml sets `delivery: env`")
	}
}

// isShell tells the programs whose `-c TEXT` ktrdr-exec quotes secrets in.
func isShell(program string) bool {
	switch program[strings.LastIndexByte(program, '/')+1:] {
	case "sh", "ash", "bash", "dash", "ksh", "zsh":
		return true
	}
	return false
}

var camel = regexp.MustCompile(`[A-Z]+`)

// fieldsWithReferences names, in Compose's words, the fields of a spec that hold references.
func fieldsWithReferences(spec *api.ContainerSpec) []string {
	data, err := json.Marshal(spec)
	var fields map[string]json.RawMessage
	if err != nil || len(api.References(string(data))) == 0 || json.Unmarshal(data, &fields) != nil {
		return nil // a spec holds only what encoding/json encodes
	}
	var found []string
	for _, key := range keysOf(fields) {
		if len(api.References(string(fields[key]))) == 0 {
			continue
		}
		word := strings.ToLower(camel.ReplaceAllString(key, "_$0"))
		if key == "mounts" {
			word = "volumes"
		}
		found = append(found, word)
	}
	return found
}
