package uplink_test

import (
	"testing"

	"ktrdr.io/fleet/pkg/agent/uplink/uplinktest"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestStatusNamesTheSliceAtOnce: the status has the revision before the link knows that it is
// accepted, and nothing else changes: the status is told again with the slice.
func TestStatusNamesTheSliceAtOnce(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	slice := c.SliceOf(map[string]string{"fleet.yaml": "1"})
	c.Publish(slice)
	told := make(chan struct{})
	run(t, c, options{accepting: func() { <-told }})
	has := func(digest string) func(*ktrdrv1.StatusUpdate) bool {
		return func(u *ktrdrv1.StatusUpdate) bool {
			return u.GetStatus().GetRevision() == slice.GetRevision() && u.GetSliceDigest() == digest
		}
	}
	c.AwaitStatus(t, "status of the revision", has(""))
	close(told)
	c.AwaitStatus(t, "status of the slice", has(slice.GetDigest()))
}
