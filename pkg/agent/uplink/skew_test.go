package uplink_test

import (
	"path/filepath"
	"testing"

	"google.golang.org/grpc"

	"ktrdr.io/fleet/pkg/agent/uplink"
	"ktrdr.io/fleet/pkg/agent/uplink/uplinktest"
	"ktrdr.io/fleet/pkg/wire/wiretest"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// TestOneVersionOfSkew: a controller of the last and of the next release works with this agent.
func TestOneVersionOfSkew(t *testing.T) {
	t.Parallel()
	for name, skew := range map[string]wiretest.Skew{"last release": wiretest.Released(t, "../../../proto/released.binpb"), "next release": wiretest.Next()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := uplinktest.Start(t)
			tls := uplinktest.TLS(c.Enroll(t, filepath.Join(t.TempDir(), "keys"), "b"))
			n := run(t, c, options{dial: uplink.Dialer(func(endpoint string) (*grpc.ClientConn, error) {
				config, err := tls()
				if err != nil {
					return nil, err
				}
				return skew.Dial(endpoint, config)
			})})
			for _, content := range []string{big("one"), big("two")} {
				slice := c.SliceOf(map[string]string{"fleet.yaml": "kind: Fleet", "stacks/core/run.sh": content})
				c.Publish(slice)
				c.AwaitResult(t, slice.GetDigest(), true)
				c.AwaitStatus(t, "status of the slice", func(u *ktrdrv1.StatusUpdate) bool { return u.GetSliceDigest() == slice.GetDigest() })
				tree := n.accepts()[len(n.accepts())-1]
				wantFile(t, tree.Dir, "stacks/core/run.sh", content)
			}
			answer := c.Command(t, &ktrdrv1.Command{Kind: &ktrdrv1.Command_Sync{Sync: &ktrdrv1.SyncCommand{}}})
			if reason := answer.Result.GetReason(); reason != "" {
				t.Errorf("sync: %s %s", reason, answer.Result.GetMessage())
			}
			if got := c.Counts().Streams; got != 1 {
				t.Errorf("%d streams: the agent gave one up", got)
			}
		})
	}
}
