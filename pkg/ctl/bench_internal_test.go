package ctl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// largeFleet has 20 services on each node; every tenth node has trouble.
func largeFleet(nodes int) *ktrdrv1.Fleet {
	now := time.Now()
	digest := "sha256:9c1b7d5e4f60718293a4b5c6d7e8f90011223f2a9c1b7d5e4f60718293a4b5c6"
	f := &ktrdrv1.Fleet{Name: "large", Time: wire.Timestamp(now), Version: "1.0.0"}
	for i := range nodes {
		name := fmt.Sprintf("node-%04d", i)
		stack := api.StackStatus{Name: "workers", Project: "workers", Converged: true, Reason: api.ReasonConverged}
		for j := range 20 {
			stack.Services = append(stack.Services, api.ServiceStatus{
				Service: fmt.Sprintf("worker-%d", j), Container: fmt.Sprintf("worker-%d", j), ID: "0123456789abcdef", Image: "ghcr.io/k/worker:sha-a1",
				Wanted: digest, Actual: digest, State: "running", Health: api.HealthHealthy, Converged: true, Reason: api.ReasonConverged, StartedAt: now.Add(-time.Hour),
			})
		}
		if i%10 == 0 {
			stack.Converged, stack.Reason, stack.Services[3].Reason, stack.Services[3].Converged = false, api.ReasonUnhealthy, api.ReasonUnhealthy, false
			stack.Conditions = []api.Condition{{Type: api.ConditionDegraded, Status: true, Reason: api.ReasonUnhealthy, Object: "worker-3", Message: "the probe says 503", Since: now}}
		}
		st := api.NodeStatus{Node: name, Version: "1.0.0", Time: now, Ready: true, Engine: api.Engine{Reachable: true}, Stacks: []api.StackStatus{stack}}
		f.Nodes = append(f.Nodes, &ktrdrv1.Node{
			Name: name, Connected: true, Joined: true, Desired: true, Accepted: true, Seen: wire.Timestamp(now), StatusAt: wire.Timestamp(now), Status: wire.NodeStatusToProto(st),
		})
	}
	return f
}

// BenchmarkStatus is what `ktrdrctl status` does with the answer of a fleet of 1,000 nodes
// and 20,000 services.
func BenchmarkStatus(b *testing.B) {
	f := largeFleet(1000)
	for name, render := range map[string]func(d *document, out *bytes.Buffer) error{
		"table": func(d *document, out *bytes.Buffer) error { return view{out, formatTable}.document(d) },
		"wide":  func(d *document, out *bytes.Buffer) error { return view{out, formatWide}.document(d) },
		"json":  func(d *document, out *bytes.Buffer) error { return json.NewEncoder(out).Encode(d) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var out bytes.Buffer
				d := ofFleet(f, "controller:8443")
				if err := render(d, &out); err != nil {
					b.Fatal(err)
				}
				if d.verdict() == nil || out.Len() < 1<<20 {
					b.Fatal("not what was meant to be measured")
				}
			}
		})
	}
}
