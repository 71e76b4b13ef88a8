package desired

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Limits of a rotation command's time.
const (
	defaultRotation = 30 * time.Second
	maxRotation     = 10 * time.Minute
)

// firstStartOnly are variables that well-known images read at their first start, when they
// make their data. Each also exists with _FILE or __FILE at its end.
//
// Sources: the images' own documentation of postgres, mysql, mariadb, mongo, grafana,
// rabbitmq and influxdb.
//
//nolint:gochecknoglobals // a constant in all but name
var firstStartOnly = []string{
	"POSTGRES_PASSWORD", "POSTGRES_USER", "POSTGRES_DB",
	"MYSQL_ROOT_PASSWORD", "MYSQL_PASSWORD", "MYSQL_USER", "MYSQL_DATABASE",
	"MARIADB_ROOT_PASSWORD", "MARIADB_PASSWORD", "MARIADB_USER", "MARIADB_DATABASE",
	"MONGO_INITDB_ROOT_USERNAME", "MONGO_INITDB_ROOT_PASSWORD", "MONGO_INITDB_DATABASE",
	"GF_SECURITY_ADMIN_USER", "GF_SECURITY_ADMIN_PASSWORD",
	"RABBITMQ_DEFAULT_USER", "RABBITMQ_DEFAULT_PASS", "RABBITMQ_DEFAULT_VHOST",
	"DOCKER_INFLUXDB_INIT_USERNAME", "DOCKER_INFLUXDB_INIT_PASSWORD", "DOCKER_INFLUXDB_INIT_ADMIN_TOKEN",
	"DOCKER_INFLUXDB_INIT_ORG", "DOCKER_INFLUXDB_INIT_BUCKET",
	"INFLUXDB_ADMIN_USER", "INFLUXDB_ADMIN_PASSWORD", "INFLUXDB_USER", "INFLUXDB_USER_PASSWORD",
}

// checkRotation checks what needs no Compose file.
func (s *stack) checkRotation(at string, specs []api.RotationSpec) {
	for i, spec := range specs {
		at := fmt.Sprintf("%s[%d]", at, i)
		if (len(spec.Exec) > 0) == (spec.Keep != nil) {
			s.doc.problem(at, "must have exactly one of exec and keep")
		}
		if len(spec.Exec) == 0 && (spec.User != "" || spec.Timeout != 0) {
			s.doc.problem(at, "has user or timeout, but no exec")
		}
		if d := time.Duration(spec.Timeout); d != 0 && (d < time.Second || d > maxRotation) {
			s.doc.problem(at+".timeout", "must be from 1s to %s", maxRotation)
		}
		for _, word := range spec.Exec {
			if fault := plaintextFault("", word); fault != "" {
				s.doc.problem(at+".exec", "%s", fault)
			}
		}
	}
}

// applyRotation finds the secrets that a service keeps: those that stack.yaml says, and
// those of well-known variables where there is somewhere to keep them.
func (b *stackBuild) applyRotation(service *api.Service, specs []api.RotationSpec) {
	if len(service.Replicas) == 0 {
		return
	}
	var kept []api.KeptSecret
	decided := map[string]bool{}
	for i, rotation := range specs {
		at := b.stack.doc.at(fmt.Sprintf("spec.services.%s.rotation[%d].secret", service.Name, i))
		ref := b.rotated(service, rotation.Secret, at)
		if ref == "" {
			continue
		}
		if decided[ref] {
			b.fail(at, "is there twice")
			continue
		}
		decided[ref] = true
		if k := keptOf(rotation); k != nil {
			k.Ref = ref
			kept = append(kept, *k)
		}
	}
	for _, found := range wellKnown(&service.Replicas[0].Spec) {
		if !decided[found.Ref] {
			decided[found.Ref] = true
			kept = append(kept, found)
		}
	}
	slices.SortFunc(kept, func(x, y api.KeptSecret) int { return cmp.Compare(x.Ref, y.Ref) })
	service.Keeps = kept
}

// keptOf is nil for a secret that the service applies at every start.
func keptOf(rotation api.RotationSpec) *api.KeptSecret {
	switch {
	case len(rotation.Exec) > 0:
		return &api.KeptSecret{
			Variable: rotation.Secret, Exec: rotation.Exec, User: rotation.User,
			Timeout: orDefault(time.Duration(rotation.Timeout), defaultRotation),
		}
	case rotation.Keep != nil && *rotation.Keep:
		return &api.KeptSecret{Variable: rotation.Secret}
	}
	return nil
}

// rotated resolves what a rotation is about to the one reference that it stands for.
func (b *stackBuild) rotated(service *api.Service, name string, at Problem) string {
	text, err := placeholders(name)
	if err != nil {
		b.fail(at, "%s", err)
		return ""
	}
	if text == name {
		env := environmentOf(&service.Replicas[0].Spec)
		value, known := env[name]
		if !known {
			value, known = b.vars.lookup(name)
		}
		if !known {
			b.fail(at, "is neither a variable of the stack nor in the environment of service %s%s", service.Name,
				didYouMean(name, append(b.vars.names(), keysOf(env)...)))
			return ""
		}
		text = value
	}
	switch refs := api.References(text); {
	case len(refs) == 0:
		b.fail(at, "is not a secret: its value holds no reference")
	case len(refs) > 1:
		b.fail(at, "stands for %d secrets: write the reference of one", len(refs))
	case !slices.Contains(service.Replicas[0].SecretRefs, refs[0]):
		b.fail(at, "is not used by service %s", service.Name)
	default:
		return refs[0]
	}
	return ""
}

// hasData says that a container has somewhere to keep what it made at its first start.
func hasData(spec *api.ContainerSpec) bool {
	return slices.ContainsFunc(spec.Mounts, func(m api.Mount) bool {
		return (m.Type == api.MountVolume || m.Type == api.MountBind) && !m.ReadOnly && m.Repo == nil
	})
}

// wellKnown are the secrets in variables that images read at their first start only, or in
// the files that such variables name, where there is somewhere to keep them.
func wellKnown(spec *api.ContainerSpec) []api.KeptSecret {
	if !hasData(spec) {
		return nil
	}
	env := environmentOf(spec)
	var found []api.KeptSecret
	for _, key := range keysOf(env) {
		name, isFile := fileVariable(key)
		if !slices.Contains(firstStartOnly, name) {
			continue
		}
		text := env[key]
		if isFile {
			text = contentOf(spec, env[key])
		}
		for _, ref := range api.References(text) {
			found = append(found, api.KeptSecret{Ref: ref, Variable: key})
		}
	}
	return found
}

// fileVariable takes the ending off a variable that names a file.
func fileVariable(key string) (name string, isFile bool) {
	if name, isFile = strings.CutSuffix(key, "__FILE"); isFile {
		return name, true
	}
	return strings.CutSuffix(key, "_FILE")
}

func contentOf(spec *api.ContainerSpec, target string) string {
	for _, f := range spec.Files {
		if f.Target == target {
			return f.Content
		}
	}
	return ""
}
