package observe_test

import (
	"fmt"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine/observe"
	"ktrdr.io/fleet/pkg/api"
)

// benchRig runs a cache over 500 containers.
func benchRig(b *testing.B) (*rig, []string) {
	b.Helper()
	r := newRig(observe.Config{})
	ids := make([]string, 500)
	for i := range ids {
		id, err := r.hand.Run(request(fmt.Sprintf("c%d", i), "p"))
		if err != nil {
			b.Fatal(err)
		}
		ids[i] = id
	}
	runUntilEnd(b, r.Cache)
	for !r.Snapshot().Complete {
		<-time.After(time.Millisecond)
	}
	return r, ids
}

func BenchmarkSnapshot500(b *testing.B) {
	r, _ := benchRig(b)
	b.ReportAllocs()
	for b.Loop() {
		if len(r.Snapshot().Containers) != 500 {
			b.Fatal("containers are missing")
		}
	}
}

func BenchmarkRefreshUnchanged500(b *testing.B) {
	r, ids := benchRig(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := r.Refresh(b.Context(), ids[i%len(ids)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkChangeOneOf500(b *testing.B) {
	r, ids := benchRig(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.SetFacts(ids[i%len(ids)], func(f *api.ContainerFacts) { f.UnhealthyRestarts++ })
	}
}
