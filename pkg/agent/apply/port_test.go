package apply_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"ktrdr.io/fleet/pkg/agent/apply"
	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
	"ktrdr.io/fleet/pkg/agent/internal/engine/observe"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

// TestPortOfNobody: an engine that refuses a port which no container has is the one to be
// restarted; one that another container or program has is not.
func TestPortOfNobody(t *testing.T) {
	const allocated = "Bind for 0.0.0.0:80 failed: port is already allocated"
	for name, c := range map[string]struct {
		says, other string
		hint        bool
	}{
		"nobody":            {says: allocated, other: "81", hint: true},
		"another container": {says: allocated, other: "80"},
		"another program":   {says: "listen tcp4 0.0.0.0:80: bind: address already in use", other: "81"},
		"no port is meant":  {says: "no such file", other: "81"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := enginetest.New(1)
				fake.AddImage("web:1", api.Image{})
				request := func(name, port string) engine.CreateRequest {
					return engine.CreateRequest{Name: name, Spec: api.ContainerSpec{
						Image: "web:1", NetworkMode: "bridge", Ports: []api.Port{{Published: port, Target: 80, Protocol: "tcp"}},
					}}
				}
				if _, err := fake.Hand().Run(request("other", c.other)); err != nil {
					t.Fatal(err)
				}
				id, err := fake.Create(t.Context(), request("web", "80"))
				if err != nil {
					t.Fatal(err)
				}
				fake.OnCall = func(method, _ string) error {
					if method != "Start" {
						return nil
					}
					reason := api.ReasonPortConflict
					if name == "no port is meant" {
						reason = api.ReasonEngineFailed
					}
					return &engine.Error{Op: "start container", Object: id, Class: api.Waiting, Reason: reason, Err: fmt.Errorf("%w: %s", engine.ErrConflict, c.says)}
				}
				log := slog.New(slog.DiscardHandler)
				cache := observe.New(fake, observe.Config{Logger: log, ProcRoot: "/nonexistent"})
				exec := apply.New(apply.Config{Engine: fake, Cache: cache, World: cache, Log: log})
				stop := runCache(t, cache)
				defer stop()
				err = exec.Apply(t.Context(), plan.Op{Kind: plan.Start, ID: id, Object: "web"}, plan.Target{})
				if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "has to be restarted") != c.hint {
					t.Errorf("%v; wanted a hint: %t", err, c.hint)
				}
				class, reason := err.(interface {
					Failure() (api.ErrorClass, api.Reason)
				}).Failure()
				if class != api.Waiting || (reason == api.ReasonPortLost) != c.hint {
					t.Errorf("class %s, reason %s", class, reason)
				}
			})
		})
	}
}
