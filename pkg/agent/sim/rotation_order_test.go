package sim_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// tooEarly says that the container of the other stack is replaced although those of the
// database's own stack don't run with the password in force.
func (r *rotating) tooEarly(when, method, object string) string {
	if when != "before" || method != "Create" || !strings.HasSuffix(object, "q-app-1") || !r.running("q-app-1") {
		return ""
	}
	r.db.mu.Lock()
	password := r.db.password
	r.db.mu.Unlock()
	for _, name := range []string{"p-api-1", "p-worker-1"} {
		if !r.running(name) || r.value(name) != password {
			return fmt.Sprintf("q-app-1 is replaced while %s has %q", name, r.value(name))
		}
	}
	return ""
}

// TestRotationWaits: the other stack waits until the backend is healthy with the new value,
// says so, and goes on at once then.
func TestRotationWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRotating(t, 1)
		r.start(rotatingState("r1", "one", "alter"))
		defer r.stop()
		if err := r.settle(patience, "s", "t"); err != nil {
			t.Fatal(err)
		}
		r.unready(true)
		r.set("value-2")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if r.value("p-api-1") != "value-2" || r.value("q-app-1") != "value-1" {
			t.Fatalf("api has %q, app %q", r.value("p-api-1"), r.value("q-app-1"))
		}
		for _, part := range []string{"RotationInProgress", `waits until service "api" of stack s has the new value`, "await-healthy p-api-1"} {
			if text := r.conditions("t"); !strings.Contains(text, part) {
				t.Errorf("the status does not say %q: %s", part, text)
			}
		}
		r.unready(false)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if got := r.value("q-app-1"); got != "value-2" {
			t.Errorf("app has %q", got)
		}
		if err := r.check("value-2"); err != nil {
			t.Error(err)
		}
	})
}

func (r *rotating) unready(is bool) { //nolint:revive // what the healthcheck says from now on
	r.db.mu.Lock()
	defer r.db.mu.Unlock()
	r.db.unready = is
}

// TestRotationNotAwaited: where the database's own stack can't follow, the other one does
// so without it.
func TestRotationNotAwaited(t *testing.T) {
	cases := map[string]func(r *rotating){
		"held": func(r *rotating) {
			r.db.accepted = func() { go r.cache.SetHold("s", &api.Hold{Why: "work"}) }
		},
		"unhealthy": func(r *rotating) { r.unready(true) },
		"refused by the engine": func(r *rotating) {
			r.watch(func(when, method, object string) error {
				if when == "before" && method == "Create" && strings.HasSuffix(object, "p-api-1") {
					return errFault
				}
				return nil
			})
		},
	}
	for name, spoil := range cases {
		synctest.Test(t, func(t *testing.T) {
			r := newRotating(t, 1)
			r.start(rotatingState("r1", "one", "alter"))
			defer r.stop()
			if err := r.settle(patience, "s", "t"); err != nil {
				t.Fatal(err)
			}
			spoil(r)
			r.set("value-2")
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if got := r.value("q-app-1"); got != "value-2" || !r.running("q-app-1") {
				t.Errorf("%s: app has %q; %s", name, got, r.conditions("t"))
			}
			if r.report.converged([]string{"s"}) {
				t.Errorf("%s: the database's stack converged", name)
			}
		})
	}
}
