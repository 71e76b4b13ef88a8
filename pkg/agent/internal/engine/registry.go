package engine

import (
	"context"
	"strings"

	"github.com/moby/moby/client"
)

// Manifest is what a registry has under a reference.
type Manifest struct {
	// Digest of the manifest or of the index of platforms ("sha256:…").
	Digest string
	// Platforms that it is for, such as "linux/arm64".
	Platforms []string
}

// AskRegistry asks the registry of an image what it has under the reference, with the
// engine's own trust in registries, and pulls nothing. Errors are those of Pull.
// Engine API: GET /distribution/{name}/json.
func (c *Client) AskRegistry(ctx context.Context, req PullRequest) (Manifest, error) {
	var manifest Manifest
	var failure error
	what := call{op: "ask the registry for", object: req.Ref, limit: c.cfg.Change, secrets: []string{req.Password}}
	err := c.do(ctx, what, func(ctx context.Context, s *session) error {
		manifest, failure = s.askRegistry(ctx, req)
		return failure
	})
	if err != nil {
		return manifest, pullFailure(err, failure)
	}
	return manifest, nil
}

func (s *session) askRegistry(ctx context.Context, req PullRequest) (Manifest, error) {
	auth, err := registryAuth(req)
	if err != nil {
		return Manifest{}, err
	}
	result, err := s.cli.DistributionInspect(ctx, req.Ref, client.DistributionInspectOptions{EncodedRegistryAuth: auth})
	if err != nil {
		return Manifest{}, err
	}
	found := Manifest{Digest: result.Descriptor.Digest.String()}
	for _, p := range result.Platforms {
		found.Platforms = append(found.Platforms, strings.Trim(p.OS+"/"+p.Architecture+"/"+p.Variant, "/"))
	}
	return found, nil
}
