package parity

import (
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/client/pkg/versions"
)

// Rule is a difference that is meant to be. docs/compose-differences.md lists the same.
type Rule struct {
	Name   string
	Reason string
	// apply makes the two sides of a pair agree where the rule explains their
	// difference, and tells whether it did.
	apply func(p *pair) bool
}

// Rules returns all allowed differences.
func Rules() []Rule {
	return []Rule{
		{"own-labels", "The labels io.ktrdr.* mark what the agent owns and hold the hashes it compares.", ownLabels},
		{"config-hash", "docker compose's hash changes with its releases and with the place of the files; ours is over what decides about the container. Other tools only need the label to exist.", oneLabel("com.docker.compose.config-hash")},
		{"version", "The version label names the release of docker compose that wrote it; ours names the one whose behaviour is followed.", oneLabel("com.docker.compose.version")},
		{"depends-on-order", "docker compose writes the dependencies in random order, we sort them.", dependsOn},
		{"link-aliases", "docker compose repeats each link under two more aliases, leftovers of its first version: the container's own name, by which a network knows it anyway, and the service's with the number of the container that links. We send the alias that was asked for.", linkAliases},
		{"image-volume-digest", "docker compose notes the digests of mounted images in a label to find out when they change; we compare the images themselves.", imageVolumeDigest},
		{"volumes-from-access", "docker compose loses the access mode of volumes_from a service, so that read-only becomes writable; we keep it.", volumesFromAccess},
		{"operational-addresses", "docker compose also sends static addresses in fields that are the engine's to fill (IPAddress, IPv6Gateway); engines ignore them.", operationalAddresses},
		{"grace-rounded-up", "Engines count the grace period in whole seconds: docker compose rounds 500ms down to 0, which kills at once. We round up, and the agent's own stop keeps the fraction.", graceRoundedUp},
		{"mac-address-on-old-engines", "Before API 1.44 engines take a MAC address from the container and ignore that of an endpoint. docker compose 5 sends only the latter, so the address is lost; we send the former.", macOnOldEngines},
		{"propagation-on-old-engines", "Before API 1.42 the Mounts API can't make a missing source folder. docker compose's request then fails on it; we send the classic string, which says the same.", propagationOnOldEngines},
		{"refused-on-old-engines", "Engines ignore attributes of later APIs in silence. docker compose sends them anyway; we refuse with the attribute and the API version that it needs.", refusedOnOldEngines},
	}
}

func labelsOf(body map[string]any) map[string]any {
	found, _ := body["Labels"].(map[string]any)
	return found
}

func ownLabels(p *pair) bool {
	before := len(labelsOf(p.ours))
	maps.DeleteFunc(labelsOf(p.ours), func(key string, _ any) bool { return strings.HasPrefix(key, "io.ktrdr.") })
	return len(labelsOf(p.ours)) < before
}

// oneLabel lets the value of a label differ, but not its presence.
func oneLabel(key string) func(p *pair) bool {
	return func(p *pair) bool {
		compose, ours := labelsOf(p.compose), labelsOf(p.ours)
		if compose[key] == nil || ours[key] == nil || compose[key] == ours[key] {
			return false
		}
		ours[key] = compose[key]
		return true
	}
}

func dependsOn(p *pair) bool {
	const key = "com.docker.compose.depends_on"
	compose, ours := labelsOf(p.compose), labelsOf(p.ours)
	text, ok := compose[key].(string)
	if !ok || !strings.Contains(text, ",") {
		return false
	}
	parts := strings.Split(text, ",")
	slices.Sort(parts)
	if strings.Join(parts, ",") != ours[key] {
		return false
	}
	compose[key] = ours[key]
	return true
}

// linkAliases drops aliases of docker compose that end in the number of a container.
func linkAliases(p *pair) bool {
	lists := []map[string]any{dig(p.compose, "HostConfig")}
	applied := false
	for _, holder := range append(lists, endpoints(p.compose)...) {
		links, _ := holder["Links"].([]any)
		var left []any
		for _, link := range links {
			text, _ := link.(string)
			_, alias, _ := strings.Cut(text, ":")
			at := strings.LastIndexByte(alias, '-')
			if at < 0 || strings.Trim(alias[at+1:], "0123456789") != "" {
				left = append(left, link)
			}
		}
		if len(left) < len(links) {
			holder["Links"] = left
			applied = true
		}
	}
	return applied
}

func volumesFromAccess(p *pair) bool {
	compose, _ := dig(p.compose, "HostConfig")["VolumesFrom"].([]any)
	ours, _ := dig(p.ours, "HostConfig")["VolumesFrom"].([]any)
	applied := false
	for i := range min(len(compose), len(ours)) {
		text, _ := ours[i].(string)
		id, mode, found := strings.Cut(text, ":")
		if found && compose[i] == id && (mode == "ro" || mode == "rw") {
			ours[i] = id
			applied = true
		}
	}
	return applied
}

func imageVolumeDigest(p *pair) bool {
	const key = "com.docker.compose.image-volume-digest"
	labels := labelsOf(p.compose)
	_, applied := labels[key]
	delete(labels, key)
	return applied
}

// dig follows keys into nested objects; nil when one is missing.
func dig(body map[string]any, keys ...string) map[string]any {
	for _, key := range keys {
		next, ok := body[key].(map[string]any)
		if !ok {
			return nil
		}
		body = next
	}
	return body
}

// endpoints returns the endpoints of a create or connect request.
func endpoints(body map[string]any) []map[string]any {
	var all []map[string]any
	if one := dig(body, "EndpointConfig"); one != nil {
		all = append(all, one)
	}
	for name := range dig(body, "NetworkingConfig", "EndpointsConfig") {
		if one := dig(body, "NetworkingConfig", "EndpointsConfig", name); one != nil {
			all = append(all, one)
		}
	}
	return all
}

func operationalAddresses(p *pair) bool {
	applied := false
	for _, endpoint := range endpoints(p.compose) {
		for _, key := range []string{"IPAddress", "IPv6Gateway"} {
			if address, _ := endpoint[key].(string); address != "" {
				delete(endpoint, key)
				applied = true
			}
		}
	}
	return applied
}

func graceRoundedUp(p *pair) bool {
	if p.kind != "container" || !p.facts.Fractions[p.name] || p.ours == nil || p.compose == nil {
		return false
	}
	ours, _ := p.ours["StopTimeout"].(float64)
	compose, _ := p.compose["StopTimeout"].(float64)
	if ours != compose+1 {
		return false
	}
	p.compose["StopTimeout"] = ours
	return true
}

func macOnOldEngines(p *pair) bool {
	if !versions.LessThan(p.facts.Version, "1.44") || p.ours == nil {
		return false
	}
	applied := false
	for _, endpoint := range endpoints(p.compose) {
		mac, _ := endpoint["MacAddress"].(string)
		ours, _ := p.ours["MacAddress"].(string)
		if mac != "" && strings.EqualFold(mac, ours) {
			delete(endpoint, "MacAddress")
			delete(p.ours, "MacAddress")
			applied = true
		}
	}
	return applied
}

func propagationOnOldEngines(p *pair) bool {
	if !versions.LessThan(p.facts.Version, "1.42") || p.ours == nil {
		return false
	}
	host := dig(p.compose, "HostConfig")
	mounts, _ := host["Mounts"].([]any)
	binds, _ := host["Binds"].([]any)
	var left []any
	for _, item := range mounts {
		mount, _ := item.(map[string]any)
		options := dig(mount, "BindOptions")
		propagation, _ := options["Propagation"].(string)
		if options["CreateMountpoint"] != true || propagation == "" || options["NonRecursive"] == true {
			left = append(left, item)
			continue
		}
		mode := "rw"
		if mount["ReadOnly"] == true {
			mode = "ro"
		}
		source, _ := mount["Source"].(string)
		target, _ := mount["Target"].(string)
		binds = append(binds, source+":"+target+":"+mode+","+propagation)
	}
	if len(left) == len(mounts) {
		return false
	}
	host["Mounts"], host["Binds"] = left, binds
	return true
}

func refusedOnOldEngines(p *pair) bool {
	container, _, _ := strings.Cut(p.name, " to ")
	refused := p.facts.Refused[container] && p.ours == nil && (p.kind == "container" || p.kind == "connect")
	if refused {
		p.compose = nil
	}
	return refused
}
