package doctor_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/doctor"
	"ktrdr.io/fleet/pkg/api"
)

func TestImages(t *testing.T) {
	cfg := doctor.Config{
		Resolver: names(t, nil), Engine: told{facts: good(), images: map[string]*api.Image{"here:1": {ID: "i", Digest: "sha256:aaaa"}, "moved:1": {ID: "i", Digest: "sha256:old"}, "local:1": {ID: "i"}}},
		Registry: func(_ context.Context, image doctor.Image) (string, error) {
			switch image.Ref {
			case "here:1", "moved:1", "new:1":
				return "sha256:aaaa", nil
			}
			return "", errors.New("manifest unknown")
		},
	}
	rows := report(t, cfg, doctor.Request{Desired: state(api.ContainerSpec{Image: "here:1"}, api.ContainerSpec{Image: "moved:1"}, api.ContainerSpec{Image: "new:1"},
		api.ContainerSpec{Image: "local:1"}, api.ContainerSpec{Image: "none:1"})})
	wants(t, find(t, rows, "image", "here:1"), api.CheckOK, "and here")
	wants(t, find(t, rows, "image", "moved:1"), api.CheckOK, "the tag has moved")
	wants(t, find(t, rows, "image", "new:1"), api.CheckOK, "not pulled yet")
	wants(t, find(t, rows, "image", "local:1"), api.CheckWarn, "manifest unknown")
	wants(t, find(t, rows, "image", "none:1"), api.CheckFail, "core/svc5", "manifest unknown")
}

// TestLoginsAreLookedAtFirst: one report does not say that a password is wrong, and of an image
// that it can be pulled with it: images are asked for when the secrets have been looked at.
func TestLoginsAreLookedAtFirst(t *testing.T) {
	asked := make(chan struct{})
	cfg := doctor.Config{
		Resolver: names(t, nil), Engine: told{facts: good()},
		Secrets: func(context.Context, *api.Desired) api.SecretsStatus {
			select {
			case <-asked:
				t.Error("the registry was asked with the login of before")
			case <-time.After(200 * time.Millisecond): // who does not wait for it asks by then
			}
			return api.SecretsStatus{}
		},
		Registry: func(context.Context, doctor.Image) (string, error) {
			close(asked)
			return "sha256:aaaa", nil
		},
	}
	rows := report(t, cfg, doctor.Request{Desired: state(api.ContainerSpec{Image: "new:1"})})
	wants(t, find(t, rows, "image", "new:1"), api.CheckOK, "not pulled yet")
}
