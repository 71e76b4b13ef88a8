package plan

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// maxDiffText bounds one side of a FieldDiff, in bytes.
const maxDiffText = 160

// What a FieldDiff says instead of values that may be secret.
const (
	diffAdded   = "(added)"
	diffRemoved = "(removed)"
	diffChanged = "(changed)"
)

// Diff lists how a container's configuration differs from the wanted one, sorted by
// path; paths are Compose's words. have is an observed spec, want comes from Effective.
//
// What want leaves to the engine (log driver, runtime, size of /dev/shm, cgroup
// namespace, further ulimits) is not compared: the engine's default can't be told from a
// setting. Neither are files, which no engine reports, the source of repository mounts,
// which the planner compares by content, and "service:" references, which it resolves. What
// the delivery of secrets adds to a container (Delivered) is taken off before.
//
// Values of environment, labels and log options never appear; words of command lines
// appear only where the wanted state, which holds no secrets, has them.
func Diff(have, want api.ContainerSpec) []FieldDiff {
	d := &differ{}
	have, want = normal(undelivered(have, want.Files)), normal(want)
	d.program(have, want)
	d.networking(have, want)
	d.host(have, want)
	d.mounts(have.Mounts, want.Mounts)
	d.resources(have.Resources, want.Resources)
	return d.sorted()
}

// diffLimits is the part of Diff that can be changed on a container in place: resources
// and restart policy. Every round asks for it, so it looks at nothing else.
func diffLimits(have, want api.ContainerSpec) []FieldDiff {
	d := &differ{}
	d.value("restart", restartText(normalRestart(have.Restart)), restartText(normalRestart(want.Restart)))
	d.resources(normalResources(have.Resources), normalResources(want.Resources))
	return d.sorted()
}

type differ struct{ diffs []FieldDiff }

func (d *differ) add(path, have, want string) {
	d.diffs = append(d.diffs, FieldDiff{Path: path, Have: cutDiff(have), Want: cutDiff(want)})
}

func (d *differ) sorted() []FieldDiff {
	slices.SortFunc(d.diffs, func(a, b FieldDiff) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Have, b.Have), cmp.Compare(a.Want, b.Want))
	})
	return d.diffs
}

func cutDiff(text string) string {
	text = api.Display(text)
	if len(text) > maxDiffText {
		return strings.ToValidUTF8(text[:maxDiffText-3], "") + "..."
	}
	return text
}

// value compares two values of any comparable or encodable type; nil and empty are equal.
func (d *differ) value(path string, have, want any) {
	if reflect.DeepEqual(have, want) {
		return // as almost always; spelling values out costs ten times as much
	}
	h, w := text(have), text(want)
	if h != w {
		d.add(path, h, w)
	}
}

// text spells a value; nil, zero, false and empty are all "".
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case *bool:
		if v == nil {
			return ""
		}
		return fmt.Sprint(*v)
	case *int64:
		if v == nil {
			return ""
		}
		return fmt.Sprint(*v)
	case time.Duration:
		if v == 0 {
			return ""
		}
		return v.String()
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	switch spelled := string(data); spelled {
	case "null", "0", "false", "[]", "{}":
		return ""
	default:
		return spelled
	}
}

func (d *differ) program(have, want api.ContainerSpec) {
	if h, w := imageName(have.Image), imageName(want.Image); h != w && !isImageID(have.Image) && !isImageID(want.Image) {
		d.add("image", h, w)
	}
	d.words("command", have.Command, want.Command)
	d.words("entrypoint", have.Entrypoint, want.Entrypoint)
	d.secretMap("environment.", envMap(have.Env), envMap(want.Env))
	d.secretMap("labels.", have.Labels, want.Labels)
	d.value("user", have.User, want.User)
	d.value("working_dir", have.WorkingDir, want.WorkingDir)
	if want.Hostname != "" || !madeHostname(have.NetworkMode) {
		d.value("hostname", have.Hostname, want.Hostname)
	}
	d.value("domainname", have.Domainname, want.Domainname)
	d.value("tty", have.TTY, want.TTY)
	d.value("stdin_open", have.StdinOpen, want.StdinOpen)
	d.value("stop_signal", have.StopSignal, want.StopSignal)
	if !sameGrace(have.StopGrace, want.StopGrace) {
		d.add("stop_grace_period", graceText(have.StopGrace), graceText(want.StopGrace))
	}
	d.healthcheck(have.Healthcheck, want.Healthcheck)
	d.value("annotations", have.Annotations, want.Annotations)
	d.value("restart", restartText(have.Restart), restartText(want.Restart))
}

// madeHostname tells the modes in which the engine fills in another host's name.
func madeHostname(networkMode string) bool {
	return networkMode == "host" || strings.HasPrefix(networkMode, "container:")
}

// sameGrace knows that engines count in seconds: a fraction is rounded up by this agent
// and down by docker compose.
func sameGrace(have, want *time.Duration) bool {
	if have == nil || want == nil {
		return have == want
	}
	down := want.Truncate(time.Second)
	return *have == *want || *have == down || (down != *want && *have == down+time.Second)
}

func graceText(grace *time.Duration) string {
	if grace == nil {
		return engineGrace.String()
	}
	return grace.String()
}

func restartText(policy api.RestartPolicy) string {
	if policy.MaxRetries > 0 {
		return fmt.Sprintf("%s:%d", policy.Name, policy.MaxRetries)
	}
	return policy.Name
}

func (d *differ) healthcheck(have, want *api.Healthcheck) {
	switch {
	case have == nil && want == nil:
	case have == nil:
		d.add("healthcheck", "", diffAdded)
	case want == nil:
		d.add("healthcheck", diffRemoved, "")
	default:
		d.words("healthcheck.test", have.Test, want.Test)
		d.value("healthcheck.interval", have.Interval, want.Interval)
		d.value("healthcheck.timeout", have.Timeout, want.Timeout)
		d.value("healthcheck.start_period", have.StartPeriod, want.StartPeriod)
		d.value("healthcheck.start_interval", have.StartInterval, want.StartInterval)
		d.value("healthcheck.retries", have.Retries, want.Retries)
	}
}

// words compares command lines. A running container's may hold secrets in clear, so only
// words that are wanted too are shown of it.
func (d *differ) words(path string, have, want []string) {
	if slices.Equal(have, want) {
		return
	}
	if slices.ContainsFunc(want, func(word string) bool { return len(api.References(word)) > 0 }) {
		d.add(path, diffChanged, diffChanged)
		return
	}
	shown := slices.Clone(have)
	for i, word := range shown {
		if !slices.Contains(want, word) {
			shown[i] = "…"
		}
	}
	d.value(path, shown, want)
	if last := len(d.diffs) - 1; last < 0 || d.diffs[last].Path != path {
		d.add(path, diffChanged, diffChanged)
	}
}

func envMap(env []string) map[string]string {
	values := make(map[string]string, len(env))
	for _, entry := range env {
		key, value, _ := strings.Cut(entry, "=")
		values[key] = value
	}
	return values
}

func (d *differ) secretMap(prefix string, have, want map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(mergeMaps(have, want))) {
		h, had := have[key]
		w, wanted := want[key]
		switch {
		case !had:
			d.add(prefix+key, "", diffAdded)
		case !wanted:
			d.add(prefix+key, diffRemoved, "")
		case h != w:
			d.add(prefix+key, diffChanged, diffChanged)
		}
	}
}

// imageName spells a reference in full: "redis" is "docker.io/library/redis:latest".
func imageName(ref string) string {
	name, digest, digested := strings.Cut(ref, "@")
	domain, _, hasDomain := strings.Cut(name, "/")
	switch {
	case !hasDomain:
		name = "docker.io/library/" + name
	case !strings.ContainsAny(domain, ".:") && domain != "localhost":
		name = "docker.io/" + name
	}
	if last := name[strings.LastIndexByte(name, '/')+1:]; !digested && !strings.Contains(last, ":") {
		name += ":latest"
	}
	if digested {
		name += "@" + digest
	}
	return strings.Replace(name, "index.docker.io/", "docker.io/", 1)
}

// isImageID tells ids, which the planner compares by what they resolve to.
func isImageID(ref string) bool {
	return ref == "" || strings.HasPrefix(ref, "sha256:")
}
