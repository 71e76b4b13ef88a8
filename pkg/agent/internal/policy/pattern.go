package policy

import (
	"errors"
	"regexp"
	"strings"

	"github.com/distribution/reference"
)

// pattern compiles a glob that has to match a whole text: "*" stands for any characters
// but "/", "**" for any. All else is literal.
func pattern(glob string) *regexp.Regexp {
	var expr strings.Builder
	expr.WriteString(`(?s)\A`)
	for i, part := range strings.Split(glob, "**") {
		if i > 0 {
			expr.WriteString(`.*`)
		}
		for j, literal := range strings.Split(part, "*") {
			if j > 0 {
				expr.WriteString(`[^/]*`)
			}
			expr.WriteString(regexp.QuoteMeta(literal))
		}
	}
	expr.WriteString(`\z`)
	return regexp.MustCompile(expr.String())
}

// imageRule matches names of images as the engine completes them.
type imageRule struct {
	name *regexp.Regexp
	// tag and digest are nil when the rule does not speak of them.
	tag, digest *regexp.Regexp
}

var errImageHost = errors.New("must begin with the registry, such as docker.io/library/redis, docker.io/grafana/* or ghcr.io/me/app")

// newImageRule reads "registry/path[:tag][@digest]" with globs.
func newImageRule(text string) (imageRule, error) {
	var rule imageRule
	name, digest, found := strings.Cut(text, "@")
	if found {
		rule.digest = pattern(digest)
	}
	if colon := strings.LastIndex(name, ":"); colon > strings.LastIndex(name, "/") {
		rule.tag = pattern(name[colon+1:])
		name = name[:colon]
	}
	host, rest, _ := strings.Cut(name, "/")
	if host != "**" && host != "*" && (rest == "" || !strings.ContainsAny(host, ".:") && host != "localhost") {
		return rule, errImageHost
	}
	if host == "*" && rest == "" {
		return rule, errImageHost
	}
	rule.name = pattern(name)
	return rule, nil
}

// matches: the tag of an image with a digest says nothing about its content, so a rule
// that wants a tag and no digest does not match it.
func (r imageRule) matches(img image) bool {
	if !r.name.MatchString(img.name) {
		return false
	}
	if img.digest != "" && r.digest == nil && r.tag != nil || img.digest == "" && r.digest != nil {
		return false
	}
	return (r.tag == nil || r.tag.MatchString(img.tag)) && (r.digest == nil || r.digest.MatchString(img.digest))
}

// image is a reference to an image as the engine completes it.
type image struct{ host, name, tag, digest string }

// parseImage is false for what is no name: an id says nothing about where the image is from.
func parseImage(ref string) (image, bool) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil || imageID.MatchString(ref) {
		return image{}, false
	}
	named = reference.TagNameOnly(named)
	img := image{host: strings.ToLower(reference.Domain(named)), name: named.Name()}
	if tagged, ok := named.(reference.Tagged); ok {
		img.tag = tagged.Tag()
	}
	if digested, ok := named.(reference.Digested); ok {
		img.digest = digested.Digest().String()
	}
	return img, true
}

var imageID = regexp.MustCompile(`^(sha256:)?[0-9a-f]{64}$`)
