package ctl_test

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// enlarge gives the fleet 150 nodes of 40 KiB.
func (f *fakeFleet) enlarge(now time.Time) {
	for i := range 150 {
		n := nodeOf(fmt.Sprintf("n%03d", i), now, "workers", nil)
		n.Status.Stacks[0].Pending = []string{strings.Repeat("x", 40<<10)}
		f.fleet.Nodes = append(f.fleet.Nodes, n)
	}
}

// parted sends an update as the controller does: nodes in parts of 1 MiB.
func (f *fakeFleet) parted(u *ktrdrv1.FleetUpdate, send func(*ktrdrv1.FleetUpdate) error) error {
	f.mu.Lock()
	parts := f.parts
	f.mu.Unlock()
	if !parts || u.GetFleet() == nil {
		return send(u)
	}
	all := u.GetFleet().GetNodes()
	u = proto.CloneOf(u)
	u.Fleet.Nodes, u.More = nil, true
	if err := send(u); err != nil {
		return err
	}
	for i := 0; i*25 < len(all); i++ {
		part := &ktrdrv1.FleetUpdate{Nodes: all[i*25 : min(len(all), i*25+25)], More: (i+1)*25 < len(all)}
		if err := send(part); err != nil {
			return err
		}
	}
	return nil
}
