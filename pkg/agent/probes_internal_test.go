package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// probedContainer is a container with a probe each second that has to fail three times.
type probedContainer struct {
	is     api.Container
	sick   error
	probed int
	// meanwhile is called during each probe.
	meanwhile func()
}

func (p *probedContainer) start(at time.Time) { p.is.StartedAt, p.is.Facts.ProbedHealthy = at, at }

func (p *probedContainer) watch() *healthWatch {
	stack := &api.Stack{Project: "p", Services: []api.Service{{Name: "web", Probe: &api.Probe{Interval: time.Second, Failures: 3}}}}
	p.is.ID, p.is.State = "1", api.StateRunning
	p.is.Labels = map[string]string{api.LabelProject: "p", api.LabelService: "web"}
	return &healthWatch{
		observed: func() *api.Observed {
			seen := p.is
			return &api.Observed{Containers: map[string]*api.Container{"1": &seen}}
		},
		setFacts: func(_ string, change func(*api.ContainerFacts)) { change(&p.is.Facts) },
		check: func(context.Context, *api.Container, *api.Probe) error {
			p.probed++
			if p.meanwhile != nil {
				p.meanwhile()
			}
			return p.sick
		},
		stacks: func() []*api.Stack { return []*api.Stack{stack} },
		denied: func(*api.Stack) bool { return false },
		runs:   map[run]*probeState{},
	}
}

// looks lets the watch look once a second.
func looks(t *testing.T, w *healthWatch, n int) {
	for range n {
		time.Sleep(time.Second)
		w.look(t.Context())
	}
}

// TestHealthWatch: three failures in a row make a container unhealthy, one success healthy
// again, and each run begins anew.
func TestHealthWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &probedContainer{sick: errors.New("503")}
		w := p.watch()
		first := time.Now()
		p.start(first)
		looks(t, w, 3) // the first one only notes the run
		if p.probed != 2 || p.is.Facts.ProbedUnhealthy {
			t.Fatalf("after %d probes: unhealthy %t", p.probed, p.is.Facts.ProbedUnhealthy)
		}
		looks(t, w, 1)
		if f := p.is.Facts; !f.ProbedUnhealthy || f.ProbeMessage != "503" {
			t.Fatalf("after three failures: %+v", f)
		}
		p.sick = nil
		looks(t, w, 1)
		if f := p.is.Facts; f.ProbedUnhealthy || f.ProbeMessage != "" {
			t.Fatalf("after a success: %+v", f)
		}

		p.sick = errors.New("503")
		looks(t, w, 2)
		p.start(time.Now())
		looks(t, w, 3)
		if p.is.Facts.ProbedUnhealthy {
			t.Error("two failures of a run, and two of the one before, make it unhealthy")
		}
		looks(t, w, 1)
		if !p.is.Facts.ProbedUnhealthy {
			t.Error("three failures of a run don't make it unhealthy")
		}
	})
}

// TestHealthWatchLate: what a probe says of a run that ended meanwhile is said of no other.
func TestHealthWatchLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &probedContainer{sick: errors.New("503")}
		w := p.watch()
		p.start(time.Now())
		looks(t, w, 3)
		p.meanwhile = func() { p.start(time.Now()) }
		looks(t, w, 1)
		if p.probed != 3 || p.is.Facts.ProbedUnhealthy {
			t.Errorf("after %d probes of the run before: unhealthy %t", p.probed, p.is.Facts.ProbedUnhealthy)
		}
	})
}
