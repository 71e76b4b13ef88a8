package fleet

import (
	"iter"

	"google.golang.org/protobuf/proto"

	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

const (
	// partSize is how many bytes of nodes go into one message of a watch. One node may be larger.
	// Who watches reads one while the next is made.
	partSize = 256 << 10
	// replySize is how many bytes a single reply may have: the rest of a message is for what is
	// around it.
	replySize = wire.MaxMessage - 64<<10
	// framing is what a node takes in a message beside itself, in bytes, at most.
	framing = 8
	// reasonFull is that of a node whose answer does not fit beside those of others.
	reasonFull = "AnswerTooLarge"
)

// partsOf is an update with nodes, split so that each message is bounded, whatever their number.
// A node is made when its part is.
func partsOf(u *ktrdrv1.FleetUpdate, nodes iter.Seq[*ktrdrv1.Node]) iter.Seq[*ktrdrv1.FleetUpdate] {
	return func(yield func(*ktrdrv1.FleetUpdate) bool) {
		part, size := u, 0
		for n := range nodes {
			add := proto.Size(n)
			if size > 0 && size+add > partSize {
				part.More = true
				if !yield(part) {
					return
				}
				part, size = &ktrdrv1.FleetUpdate{}, 0
			}
			size += add
			if f := part.GetFleet(); f != nil {
				f.Nodes = append(f.Nodes, n)
			} else {
				part.Nodes = append(part.Nodes, n)
			}
		}
		yield(part)
	}
}
