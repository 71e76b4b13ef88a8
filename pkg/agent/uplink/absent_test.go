package uplink_test

import (
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/agent/uplink/uplinktest"
	"ktrdr.io/fleet/pkg/source"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestNoSlice: a node without a state says why, in the controller's words, until it has one.
func TestNoSlice(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	n := run(t, c, options{})
	c.AwaitConnected(t, true)
	says := func(reason, message string, want source.Reason) {
		t.Helper()
		c.Send(t, &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_NoSlice{NoSlice: &ktrdrv1.NoSlice{Revision: "r1", Reason: reason, Message: message}}})
		await(t, "the source says "+string(want), func() bool {
			_, err := n.source.Fetch(t.Context(), "")
			return source.ReasonOf(err) == want && strings.Contains(err.Error(), strings.TrimSpace(message))
		})
	}
	says("NotDesired", "there is no nodes/b.yaml at revision r1: add it and push", source.ReasonNotDesired)
	says("RolloutPending", "its wave comes", source.ReasonPending)
	says("FromTheFuture", "some reason", source.ReasonNotDesired)
	first := c.SliceOf(map[string]string{"fleet.yaml": "1"})
	c.Publish(first)
	c.AwaitResult(t, first.GetDigest(), true)
	// What is in force stays, whatever is said.
	c.Send(t, &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_NoSlice{NoSlice: &ktrdrv1.NoSlice{Reason: "NotDesired", Message: "none"}}})
	second := c.SliceOf(map[string]string{"fleet.yaml": "2"})
	c.Publish(second)
	c.AwaitResult(t, second.GetDigest(), true)
	if _, err := n.source.Fetch(t.Context(), ""); err != nil {
		t.Error(err)
	}
}
