package fleet

import (
	"google.golang.org/protobuf/proto"

	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

const (
	// partSize is how many bytes of nodes go into one message of a watch. One node may be larger.
	partSize = 1 << 20
	// replySize is how many bytes a single reply may have: the rest of a message is for what is
	// around it.
	replySize = wire.MaxMessage - 64<<10
	// reasonFull is that of a node whose answer does not fit beside those of others.
	reasonFull = "AnswerTooLarge"
)

// partsOf splits an update so that each message is bounded, whatever the number of nodes.
func partsOf(u *ktrdrv1.FleetUpdate) []*ktrdrv1.FleetUpdate {
	nodes := u.GetNodes()
	if f := u.GetFleet(); f != nil {
		nodes, f.Nodes = f.GetNodes(), nil
	}
	u.Nodes = nil
	parts := []*ktrdrv1.FleetUpdate{u}
	size := 0
	for _, n := range nodes {
		add := proto.Size(n)
		last := parts[len(parts)-1]
		if size > 0 && size+add > partSize {
			last.More = true
			last, size = &ktrdrv1.FleetUpdate{}, 0
			parts = append(parts, last)
		}
		size += add
		if f := last.GetFleet(); f != nil {
			f.Nodes = append(f.Nodes, n)
		} else {
			last.Nodes = append(last.Nodes, n)
		}
	}
	return parts
}
