package compose_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"ktrdr.io/fleet/pkg/desired/compose"
)

// TestLoaderBounds loads more than a Loader may remember.
func TestLoaderBounds(t *testing.T) {
	req := repository(t, map[string]string{"compose.yaml": "services: {a: {image: \"a:$TAG\", scale: 50}}"})
	loader := &compose.Loader{}
	most := 0
	for i := range 120 {
		request, _ := with(req, map[string]string{"TAG": fmt.Sprint(i)})
		if request.Project = "one"; i >= 40 {
			request.Project = fmt.Sprintf("p%d", i)
		}
		if _, err := loader.Load(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		counted, held, results := loader.Size()
		if counted != held || held > compose.MaxRemembered || results > compose.MaxAnswers {
			t.Fatalf("after %d: it counts %d and holds %d, with %d results of one request", i, counted, held, results)
		}
		most = max(most, results)
	}
	if most != compose.MaxAnswers {
		t.Errorf("at most %d results of one request were kept", most)
	}
}

// TestLoaderWaits asks for the same twice at once: the second waits for the first and asks
// for each name once, which a load does not.
func TestLoaderWaits(t *testing.T) {
	req := repository(t, map[string]string{"compose.yaml": "services: {a: {image: \"a:$TAG\", command: \"$TAG $TAG\"}}"})
	synctest.Test(t, func(t *testing.T) {
		loader, release := &compose.Loader{}, make(chan struct{})
		first, second := req, req
		first.Lookup = func(string) (string, bool) {
			<-release
			return "1", true
		}
		asked := 0
		second.Lookup = func(string) (string, bool) {
			asked++
			return "1", true
		}
		var g sync.WaitGroup
		for _, r := range []compose.Request{first, second} {
			g.Go(func() {
				if _, err := loader.Load(t.Context(), r); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		if asked > 0 {
			t.Error("the second did not wait")
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := loader.Load(ended, second); !errors.Is(err, context.Canceled) {
			t.Errorf("a request that ended while it waited: %v", err)
		}
		close(release)
		g.Wait()
		if asked != 1 {
			t.Errorf("the second asked %d times", asked)
		}
	})
}

// TestLoaderAtOnce loads with different values at the same time.
func TestLoaderAtOnce(t *testing.T) {
	req := used(t)
	loader := &compose.Loader{}
	var g sync.WaitGroup
	for i := range 8 {
		g.Go(func() {
			for j := range 6 {
				same(t, loader, req, variables(map[string]string{"PLAIN": "p", "TAG": fmt.Sprint((i + j) % 3)}))
			}
		})
	}
	g.Wait()
}
