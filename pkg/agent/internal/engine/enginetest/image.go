package enginetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

type localImage struct{ api.Image }

// remoteImage is what the registry answers for a reference.
type remoteImage struct {
	image              api.Image
	username, password string
	err                error
}

// AddImage puts an image into the engine under a reference, without an event. A missing
// id is made of the reference.
func (f *Fake) AddImage(ref string, img api.Image) api.Image {
	f.mu.Lock()
	defer f.mu.Unlock()
	img = withID(ref, img)
	f.tag(ref, img)
	return img
}

// tag gives a reference to an image; the one that had it stays, without a name. f.mu is held.
func (f *Fake) tag(ref string, img api.Image) {
	if old := f.images[canonical(ref)]; old != nil && old.ID != img.ID {
		f.images[old.ID] = old
	}
	f.images[canonical(ref)] = &localImage{img}
}

// PublishImage puts an image into the registry; user and password guard it unless empty.
func (f *Fake) PublishImage(ref string, img api.Image, user, password string) api.Image {
	f.mu.Lock()
	defer f.mu.Unlock()
	img = withID(ref, img)
	if img.Digest == "" {
		img.Digest = digest("manifest of " + img.ID)
	}
	f.registry[canonical(ref)] = remoteImage{image: img, username: user, password: password}
	return img
}

// FailPulls makes the registry answer err for a reference; nil heals it.
func (f *Fake) FailPulls(ref string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.registry[canonical(ref)]
	r.err = err
	f.registry[canonical(ref)] = r
}

func withID(ref string, img api.Image) api.Image {
	if img.ID == "" {
		img.ID = digest(ref)
	}
	if img.Platform == "" {
		img.Platform = "linux/amd64"
	}
	return img
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// canonical is a reference without what may be left out of it.
func canonical(ref string) string {
	ref = strings.TrimPrefix(ref, "docker.io/")
	ref = strings.TrimPrefix(ref, "library/")
	if !strings.Contains(ref, "@") && strings.LastIndexByte(ref, ':') <= strings.LastIndexByte(ref, '/') {
		ref += ":latest"
	}
	return ref
}

// InspectImage tells what a reference or id resolves to; ErrNotFound when it is absent.
func (f *Fake) InspectImage(ctx context.Context, ref, platform string) (img *api.Image, err error) {
	err = f.call(ctx, request{"InspectImage", ref, "inspect image"}, func() error {
		found, err := f.imageFor(ref)
		if err != nil {
			return err
		}
		if platform != "" && platform != found.Platform {
			return refuse(engine.ErrNotFound, "image with reference %s was found but does not match the specified platform", ref)
		}
		known := found.Image
		img = &known
		return nil
	})
	return img, err
}

func (f *Fake) imageFor(ref string) (*localImage, error) {
	if img := f.images[canonical(ref)]; img != nil {
		return img, nil
	}
	name, want, byDigest := strings.Cut(ref, "@")
	for have, img := range f.images {
		if img.ID == ref || byDigest && img.Digest == want && repositoryOf(have) == repositoryOf(canonical(name)) {
			return img, nil
		}
	}
	return nil, refuseFor(engine.ErrNotFound, api.Transient, api.ReasonImageMissing, "No such image: "+ref)
}

func repositoryOf(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		ref = ref[:i]
	}
	return ref
}

// Pull fetches an image of the registry.
func (f *Fake) Pull(ctx context.Context, r engine.PullRequest) error {
	return f.call(ctx, request{"Pull", r.Ref, "pull image"}, func() error {
		remote, known := f.registry[canonical(r.Ref)]
		switch {
		case known && remote.err != nil:
			return refuseFor(nil, api.Transient, api.ReasonImagePull, remote.err.Error())
		case !known:
			return refuseFor(engine.ErrNotFound, api.Waiting, api.ReasonImageMissing, "manifest for "+r.Ref+" not found: manifest unknown")
		case remote.username != r.Username || remote.password != r.Password:
			return refuseFor(engine.ErrDenied, api.Waiting, api.ReasonImageDenied, "pull access denied for "+r.Ref)
		}
		f.tag(r.Ref, remote.image)
		f.emit(engine.Event{Type: "image", Action: "pull", ID: r.Ref, Attributes: map[string]string{"name": repositoryOf(r.Ref)}})
		return nil
	})
}
