package sim_test

import (
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine/enginetest"
)

// TestEngineAway: however long an engine was away or hung, and however often it was asked
// in vain meanwhile, all that is left to do is done within half a minute of its return.
func TestEngineAway(t *testing.T) {
	for name, away := range map[string]struct{ begin, end func(*enginetest.Fake) }{
		"killed": {(*enginetest.Fake).Crash, func(f *enginetest.Fake) { f.Recover(enginetest.StopAll) }},
		"hung":   {(*enginetest.Fake).Hang, (*enginetest.Fake).Resume},
	} {
		for _, d := range []time.Duration{3 * time.Second, 20 * time.Second, time.Minute, 3 * time.Minute, 15 * time.Minute} {
			t.Run(name+" for "+d.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := newNode(t, 1)
					n.start(chain("r1", "img:1", "one"))
					defer n.stop()
					if err := n.settle(patience, "s"); err != nil {
						t.Fatal(err)
					}
					away.begin(n.fake)
					second := chain("r2", "img:1", "two")
					n.loop.SetDesired(second)
					time.Sleep(d)
					away.end(n.fake)
					if err := n.settle(30*time.Second, "s"); err != nil {
						t.Fatal(err)
					}
					if err := n.verify(second); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}
