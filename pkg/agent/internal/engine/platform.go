package engine

import (
	"runtime"
	"slices"
	"strings"

	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// parsePlatform reads "os[/architecture[/variant]]" or an architecture alone, and spells
// it as docker compose does (containerd's platforms.Parse). Empty is nil.
func parsePlatform(platform string) (*ocispec.Platform, error) {
	if platform == "" {
		return nil, nil //nolint:nilnil // no platform wanted is not an error
	}
	parts := strings.Split(strings.ToLower(platform), "/")
	if len(parts) > 3 || slices.Contains(parts, "") {
		return nil, invalidf("platform %q: want os/architecture[/variant]", platform)
	}
	if len(parts) == 1 {
		if isOS(parts[0]) {
			return &ocispec.Platform{OS: parts[0], Architecture: runtime.GOARCH}, nil
		}
		parts = []string{"linux", parts[0]}
	}
	parsed := &ocispec.Platform{OS: parts[0]}
	if len(parts) == 2 {
		parsed.Architecture, parsed.Variant = architecture(parts[1], "")
		if parsed.Variant == "v7" {
			parsed.Variant = ""
		}
		return parsed, nil
	}
	parsed.Architecture, parsed.Variant = architecture(parts[1], parts[2])
	if parsed.Architecture == "arm64" && parsed.Variant == "" {
		parsed.Variant = "v8"
	}
	return parsed, nil
}

func isOS(name string) bool {
	return slices.Contains([]string{"linux", "windows", "darwin", "freebsd"}, name)
}

// architecture maps the kernel's names to Go's, and drops variants that are the default.
func architecture(name, variant string) (arch, normalVariant string) {
	switch name {
	case "x86_64", "x86-64", "amd64":
		if variant == "v1" {
			variant = ""
		}
		return "amd64", variant
	case "aarch64", "arm64":
		if variant == "8" || variant == "v8" || variant == "v8.0" {
			variant = ""
		}
		return "arm64", variant
	case "i386":
		return "386", ""
	case "armhf":
		return "arm", "v7"
	case "armel":
		return "arm", "v6"
	case "arm":
		switch variant {
		case "":
			variant = "v7"
		case "5", "6", "7", "8":
			variant = "v" + variant
		}
		return "arm", variant
	}
	return name, variant
}

// samePlatform takes a variant that one side leaves out for the same.
func samePlatform(wanted ocispec.Platform, have client.ImageInspectResult) bool {
	if have.Os == "" && have.Architecture == "" {
		return true
	}
	if have.Os != wanted.OS || have.Architecture != wanted.Architecture {
		return false
	}
	return wanted.Variant == "" || have.Variant == "" || have.Variant == wanted.Variant
}
