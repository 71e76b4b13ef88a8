package plan

import (
	"maps"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// Effective returns what an engine reports of a container that is created from spec
// with image: the spec merged over the image's defaults, by the engine's own rules, in
// normal form. Diff compares it with an observed spec. A nil image merges nothing.
//
// Files and mounts without a source (anonymous volumes) are left out: an engine does not
// report them as part of the configuration.
func Effective(spec api.ContainerSpec, image *api.Image) api.ContainerSpec {
	if image != nil {
		spec = overImage(spec, image.Config)
	}
	for _, port := range spec.Ports {
		spec.Expose = append(slices.Clone(spec.Expose), exposed(port))
	}
	if spec.MacAddress != "" && spec.NetworkMode == "" && len(spec.Endpoints) > 0 {
		spec.Endpoints = slices.Clone(spec.Endpoints)
		if spec.Endpoints[0].MacAddress == "" {
			spec.Endpoints[0].MacAddress = spec.MacAddress
		}
		spec.MacAddress = ""
	}
	return normal(spec)
}

// overImage merges as the engine does at create. Source: moby daemon/commit.go, merge.
func overImage(spec, image api.ContainerSpec) api.ContainerSpec {
	if len(spec.Entrypoint) == 0 {
		if len(spec.Command) == 0 {
			spec.Command = image.Command
		}
		if spec.Entrypoint == nil {
			spec.Entrypoint = image.Entrypoint
		}
	}
	spec.Env = mergeEnv(image.Env, spec.Env)
	spec.Labels = mergeMaps(image.Labels, spec.Labels)
	spec.Expose = slices.Concat(image.Expose, spec.Expose)
	for _, field := range []struct{ value, fallback *string }{
		{&spec.User, &image.User},
		{&spec.WorkingDir, &image.WorkingDir},
		{&spec.StopSignal, &image.StopSignal},
	} {
		if *field.value == "" {
			*field.value = *field.fallback
		}
	}
	spec.Healthcheck = mergeHealthcheck(image.Healthcheck, spec.Healthcheck)
	return spec
}

func mergeHealthcheck(image, spec *api.Healthcheck) *api.Healthcheck {
	if image == nil || spec == nil {
		if spec == nil {
			return image
		}
		return spec
	}
	merged := *spec
	if len(merged.Test) == 0 {
		merged.Test = image.Test
	}
	if merged.Interval == 0 {
		merged.Interval = image.Interval
	}
	if merged.Timeout == 0 {
		merged.Timeout = image.Timeout
	}
	if merged.StartPeriod == 0 {
		merged.StartPeriod = image.StartPeriod
	}
	if merged.StartInterval == 0 {
		merged.StartInterval = image.StartInterval
	}
	if merged.Retries == 0 {
		merged.Retries = image.Retries
	}
	return &merged
}

// mergeEnv lets the later list win by key.
func mergeEnv(base, over []string) []string {
	byKey := map[string]string{}
	for _, entry := range slices.Concat(base, over) {
		key, _, _ := strings.Cut(entry, "=")
		byKey[key] = entry
	}
	return slices.Sorted(maps.Values(byKey))
}

func mergeMaps(base, over map[string]string) map[string]string {
	if len(base) == 0 {
		return over
	}
	merged := maps.Clone(base)
	maps.Copy(merged, over)
	return merged
}
