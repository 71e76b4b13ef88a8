package plan

import (
	"encoding/json"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// UsesFolder tells whether a container of the replica gets its secrets as files: the
// stack does not put them into the environment, and there are some.
func UsesFolder(stack *api.Stack, svc *api.Service, rep *api.Replica) bool {
	return stack.Delivery != api.DeliveryEnv && (len(rep.SecretRefs) > 0 || len(hookRefs(svc)) > 0)
}

// DeliveryOf is what the label of a container says that is created now; empty without
// secrets.
func DeliveryOf(stack *api.Stack, svc *api.Service, rep *api.Replica) string {
	switch {
	case UsesFolder(stack, svc, rep):
		return api.DeliveryFiles
	case len(rep.SecretRefs) > 0:
		return api.DeliveryEnv
	}
	return ""
}

func hookRefs(svc *api.Service) []string {
	if svc == nil {
		return nil
	}
	var refs []string
	for _, h := range slices.Concat(svc.PostStart, svc.PreStop) {
		for _, text := range slices.Concat(h.Command, h.Env) {
			refs = append(refs, api.References(text)...)
		}
	}
	return refs
}

// ValueRefs are the references that ktrdr-exec fills in: those of environment,
// healthcheck and hooks, sorted. Files bring theirs by themselves.
func ValueRefs(svc *api.Service, rep *api.Replica) []string {
	spec := rep.Spec
	spec.Files = nil
	data, err := json.Marshal(&spec)
	if err != nil {
		return nil // a spec holds only what encoding/json encodes
	}
	refs := append(api.References(string(data)), hookRefs(svc)...)
	slices.Sort(refs)
	return slices.Compact(refs)
}

// FolderDigest identifies what a replica's folder has to hold, as SecretDigest does for
// the container: hooks may use secrets that the container itself does not.
func FolderDigest(svc *api.Service, rep *api.Replica, digests map[string]string) string {
	all := append(slices.Clone(rep.SecretRefs), hookRefs(svc)...)
	slices.Sort(all)
	return digestOver(slices.Compact(all), digests)
}

// Folder returns the name of the folder that a container reads its secrets from; empty
// when it has none.
func Folder(c *api.Container) string {
	if c == nil || c.Labels[api.LabelDelivery] != api.DeliveryFiles {
		return ""
	}
	return c.Labels[api.LabelSecretFolder]
}

// SplitFiles tells files that are bound from the folder, because they hold secrets, from
// those that are copied into the container.
func SplitFiles(files []api.File) (bound, copied []api.File) {
	for _, f := range files {
		if len(api.References(f.Content)) > 0 {
			bound = append(bound, f)
		} else {
			copied = append(copied, f)
		}
	}
	return bound, copied
}

// Binds are the host paths of one container's delivery. Exec and Values are empty when
// nothing has to be filled in; Files are in the order of SplitFiles.
type Binds struct {
	Exec, Values string
	Files        []string
}

// Delivered returns the spec that the engine gets in place of spec when secrets are
// delivered as files: ktrdr-exec before the program and the healthcheck that the engine
// would run (docs/compose-differences.md), and read-only binds. References stay in it.
func Delivered(spec api.ContainerSpec, image *api.Image, b Binds) api.ContainerSpec {
	bind := func(source, target string) {
		m := api.Mount{Type: api.MountBind, Source: source, Target: target, ReadOnly: true, Long: true}
		spec.Mounts = append(spec.Mounts, m)
	}
	spec.Mounts = slices.Clone(spec.Mounts)
	bound, copied := SplitFiles(spec.Files)
	spec.Files = copied
	if b.Exec != "" {
		spec = throughExec(spec, image)
		bind(b.Exec, api.ExecTarget)
		bind(b.Values, api.SecretsTarget)
	}
	for i, f := range bound {
		bind(b.Files[i], f.Target)
	}
	spec.Resources.Ulimits = withoutCore(spec.Resources.Ulimits)
	return spec
}

// ThroughExec is a command that ktrdr-exec runs with the container's secrets.
func ThroughExec(command []string) []string {
	return append([]string{api.ExecTarget, "--"}, command...)
}

// HasExec tells whether a container has ktrdr-exec.
func HasExec(c *api.Container) bool {
	return slices.ContainsFunc(c.Spec.Mounts, func(m api.Mount) bool { return m.Target == api.ExecTarget })
}

func throughExec(spec api.ContainerSpec, image *api.Image) api.ContainerSpec {
	run, shell := spec, []string(nil)
	if image != nil {
		run, shell = overImage(spec, image.Config), image.Shell
	}
	if slices.Equal(run.Entrypoint, []string{""}) { // how Compose says that there is none
		run.Entrypoint = nil
	}
	spec.Entrypoint, spec.Command = ThroughExec(run.Entrypoint), run.Command
	if check := run.Healthcheck; check != nil {
		wrapped := *check
		wrapped.Test = checkThroughExec(check.Test, shell)
		spec.Healthcheck = &wrapped
	}
	return spec
}

// defaultShell is what engines run CMD-SHELL with. Source: moby daemon/health.go, getShell.
var defaultShell = []string{"/bin/sh", "-c"} //nolint:gochecknoglobals // a constant in all but name

func checkThroughExec(test, shell []string) []string {
	if len(test) < 2 {
		return test
	}
	switch test[0] {
	case "CMD":
		return append([]string{"CMD"}, ThroughExec(test[1:])...)
	case "CMD-SHELL":
		if len(shell) == 0 {
			shell = defaultShell
		}
		return append([]string{"CMD"}, ThroughExec(append(slices.Clone(shell), test[1]))...)
	}
	return test
}

// withoutCore keeps secrets out of core files, unless the file wants such.
func withoutCore(limits []api.Ulimit) []api.Ulimit {
	if slices.ContainsFunc(limits, func(u api.Ulimit) bool { return u.Name == "core" }) {
		return limits
	}
	limits = append(slices.Clone(limits), api.Ulimit{Name: "core"})
	slices.SortFunc(limits, func(a, b api.Ulimit) int { return strings.Compare(a.Name, b.Name) })
	return limits
}

// undelivered takes off what Delivered adds, so that a container is compared by what it
// is wanted for. files are those of the wanted spec.
func undelivered(have api.ContainerSpec, files []api.File) api.ContainerSpec {
	if !slices.ContainsFunc(have.Mounts, func(m api.Mount) bool { return isDelivered(m, files) }) {
		return have
	}
	have.Mounts = slices.DeleteFunc(slices.Clone(have.Mounts), func(m api.Mount) bool { return isDelivered(m, files) })
	if rest, ok := afterExec(have.Entrypoint); ok {
		have.Entrypoint = rest
	}
	if check := have.Healthcheck; check != nil && len(check.Test) > 0 {
		if rest, ok := afterExec(check.Test[1:]); ok {
			plain := *check
			plain.Test = append([]string{"CMD"}, rest...)
			if n := len(defaultShell); len(rest) == n+1 && slices.Equal(rest[:n], defaultShell) {
				plain.Test = []string{"CMD-SHELL", rest[n]}
			}
			have.Healthcheck = &plain
		}
	}
	return have
}

// isDelivered tells the mounts that a delivery adds.
func isDelivered(m api.Mount, files []api.File) bool {
	return m.Target == api.ExecTarget || m.Target == api.SecretsTarget ||
		slices.ContainsFunc(files, func(f api.File) bool { return f.Target == m.Target })
}

func afterExec(words []string) (rest []string, ok bool) {
	prefix := ThroughExec(nil)
	if len(words) < len(prefix) || !slices.Equal(words[:len(prefix)], prefix) {
		return nil, false
	}
	if len(words) == len(prefix) {
		return nil, true
	}
	return words[len(prefix):], true
}

// deliveryChanged says that a container got its secrets in another way than the stack
// wants now. Nothing is said of containers that carry no label: those of Compose, and of
// agents that knew one way only, are kept until their next change.
func (b *builder) deliveryChanged(s *slot, c *api.Container) string {
	have, want := c.Labels[api.LabelDelivery], DeliveryOf(b.stack, s.svc, s.rep)
	switch {
	case have == "" || want == "" || have == want:
		return ""
	case want == api.DeliveryFiles:
		return "secrets are to be delivered as files"
	}
	return "secrets are to be delivered in the environment"
}

// undeliverable says that a slot can't get its secrets.
func (b *builder) undeliverable(s *slot) *problem {
	if b.obs.DeliveryFault == "" || !UsesFolder(b.stack, s.svc, s.rep) {
		return nil
	}
	if s.keeper != nil && Folder(s.keeper) == "" {
		return nil // it carries its secrets itself
	}
	return &problem{reason: api.ReasonUndeliverable, message: b.obs.DeliveryFault}
}

// tellEnvironment says of a container that is kept that its secrets can be read off it.
func (b *builder) tellEnvironment(s *slot) {
	if s.keeper == nil || len(s.rep.SecretRefs) == 0 || !UsesFolder(b.stack, s.svc, s.rep) || Folder(s.keeper) != "" {
		return
	}
	b.pooled = append(b.pooled, api.Condition{
		Type: api.ConditionDegraded, Status: true, Reason: api.ReasonSecretsInEnv, Object: s.keeper.Name,
		Message: "its secrets stand in its environment, where `docker inspect` shows them; its next change delivers them as files",
	})
}

// heldByFolder finds the container that can go on without values at hand, because its
// folder is still there: an agent that starts while the secret provider is down keeps up
// what it finds.
func (b *builder) heldByFolder(s *slot) *api.Container {
	for _, c := range s.found {
		folder := Folder(c)
		if folder == "" || b.obs.Folders[folder] == "" || s.svc.Job || c.Name != s.rep.Name {
			continue
		}
		if s.image != nil && c.ImageID == s.image.ID && c.SpecHash() == s.rep.SpecHash && b.deliveryChanged(s, c) == "" &&
			c.State != api.StateDead && c.State != api.StateRemoving {
			return c
		}
	}
	return nil
}
