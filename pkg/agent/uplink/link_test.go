package uplink_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"ktrdr.io/fleet/pkg/agent/uplink"
	"ktrdr.io/fleet/pkg/agent/uplink/uplinktest"
	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

func dialer(c *pki.Credentials) uplink.Dialer {
	return func(endpoint string) (*grpc.ClientConn, error) {
		return wire.Dial(wire.Client{Target: endpoint, TLS: uplinktest.TLS(c)})
	}
}

func TestSliceComesAndStatusGoes(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	first := c.SliceOf(map[string]string{"fleet.yaml": "kind: Fleet", "stacks/core/run.sh": big("one"), "empty": ""})
	c.Publish(first)
	n := run(t, c, options{})
	c.AwaitResult(t, first.GetDigest(), true)
	tree := n.accepts()[0]
	wantFile(t, tree.Dir, "stacks/core/run.sh", big("one"))
	if tree.Revision.ID != first.GetRevision() || tree.Revision.Author != "Ada <ada@example.org>" || tree.Revision.Subject != "change" ||
		tree.Revision.Branch != "main" || !tree.Revision.Time.Equal(time.Unix(1_700_000_000, 0)) {
		t.Errorf("revision %+v", tree.Revision)
	}
	c.AwaitStatus(t, "status of the slice", func(u *ktrdrv1.StatusUpdate) bool {
		return u.GetSliceDigest() == first.GetDigest() && u.GetStatus().GetNode() == "b"
	})
	second := c.SliceOf(map[string]string{"fleet.yaml": "kind: Fleet", "stacks/core/run.sh": big("two")})
	c.Publish(second)
	c.AwaitResult(t, second.GetDigest(), true)
	if r := c.Requests(); len(r) != 2 || len(r[0].GetSha256()) != 2 || len(r[1].GetSha256()) != 1 {
		t.Errorf("asked for files %v, want two and then only the one that changed", r)
	}
	st := n.link.State()
	if !st.Connected || st.Endpoint != c.Addr || st.Controller != "test-controller" || st.Since.IsZero() {
		t.Errorf("state %+v", st)
	}
}

func TestRefusedSliceIsTold(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	good := c.SliceOf(map[string]string{"fleet.yaml": "1"})
	c.Publish(good)
	n := run(t, c, options{})
	c.AwaitResult(t, good.GetDigest(), true)
	bad := c.SliceOf(map[string]string{"fleet.yaml": "1", "bad": "x"})
	c.Publish(bad)
	result := c.AwaitResult(t, bad.GetDigest(), false)
	if result.GetReason() != string(api.ReasonInvalid) || result.GetMessage() != "the file bad says [redacted]" {
		t.Errorf("result %v", result)
	}
	// A controller that comes back does not know the result, and sends the slice again.
	c.Cut()
	c.AwaitStreams(t, 2)
	if h := c.Hellos(); h[len(h)-1].GetSliceDigest() != good.GetDigest() {
		t.Errorf("hello has %s, want the slice in force", h[len(h)-1].GetSliceDigest())
	}
	before := c.Counts().Results
	await(t, "the result again", func() bool { return c.Counts().Results > before || c.Counts().Results >= 3 })
	c.AwaitResult(t, bad.GetDigest(), false)
	if _, ok := n.source.InForce(); !ok {
		t.Error("the good slice is not in force any more")
	}
}

func TestImpossibleSlicesAreRefused(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	good := c.SliceOf(map[string]string{"fleet.yaml": "1"})
	c.Publish(good)
	n := run(t, c, options{})
	c.AwaitResult(t, good.GetDigest(), true)
	for name, harm := range map[string]func(*ktrdrv1.Slice){
		"digest":        func(s *ktrdrv1.Slice) { s.Digest = "sha256:" + strings.Repeat("0", 64) },
		"no digest":     func(s *ktrdrv1.Slice) { s.Digest = "" },
		"mode":          func(s *ktrdrv1.Slice) { s.Files[0].Mode = 0o4755 },
		"sum":           func(s *ktrdrv1.Slice) { s.Files[0].Sha256 = s.GetFiles()[0].GetSha256()[:31] },
		"nil file":      func(s *ktrdrv1.Slice) { s.Files[0] = &ktrdrv1.SliceFile{} },
		"path":          func(s *ktrdrv1.Slice) { s.Files[0].Path = "../../etc/passwd" },
		"file lacks":    func(s *ktrdrv1.Slice) { s.Files = s.GetFiles()[1:] },
		"size":          func(s *ktrdrv1.Slice) { s.Files[0].Size = -5 },
		"revision":      func(s *ktrdrv1.Slice) { s.Revision = "../trees" },
		"long revision": func(s *ktrdrv1.Slice) { s.Revision = strings.Repeat("a", 100_000) },
	} {
		s := c.SliceOf(map[string]string{"fleet.yaml": "1", "x": name})
		harm(s)
		before := c.Counts().Results
		c.Send(t, &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_Slice{Slice: s}})
		await(t, "refusal: "+name, func() bool { return c.Counts().Results > before })
	}
	if got := len(n.accepts()); got == 0 || c.Counts().Streams != 1 {
		t.Errorf("%d accepted, %d streams", got, c.Counts().Streams)
	}
	for _, tree := range n.accepts() {
		if tree.Revision.Digest != good.GetDigest() {
			t.Errorf("accepted %+v", tree.Revision)
		}
	}
}

// TestSlicesTwiceAndInAnyOrder: what came last counts, and each is answered.
func TestSlicesTwiceAndInAnyOrder(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	n := run(t, c, options{})
	c.AwaitConnected(t, true)
	one, two := c.SliceOf(map[string]string{"fleet.yaml": "1"}), c.SliceOf(map[string]string{"fleet.yaml": "2"})
	for i, s := range []*ktrdrv1.Slice{one, one, two, one, two, two} {
		c.Publish(s)
		await(t, fmt.Sprintf("answer %d", i), func() bool { return c.Counts().Results > i })
		c.AwaitResult(t, s.GetDigest(), true)
	}
	for range 20 {
		c.Publish(one)
		c.Publish(two)
	}
	await(t, "the last one is in force", func() bool {
		rev, ok := n.source.InForce()
		return ok && rev.Digest == two.GetDigest()
	})
	if got := c.Counts().Requests; got != 2 {
		t.Errorf("%d requests for two contents", got)
	}
}

// TestEventsThatNeverWere: a controller that claims to have seen more than there is gets
// all events, once.
func TestEventsThatNeverWere(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	c.SetFault(func(_ context.Context, _ int, m *ktrdrv1.ControllerMessage) error {
		if w := m.GetWelcome(); w != nil {
			w.EventsSeen = 1 << 62
		}
		return nil
	})
	n := run(t, c, options{})
	n.change(func() { n.wrap = true })
	c.AwaitConnected(t, true)
	n.event("one")
	c.AwaitEvents(t, 1)
	last := n.event("two")
	if all := c.AwaitEvents(t, last); len(all) > 3 {
		t.Errorf("%d events for two", len(all))
	}
}

// TestCutAtEveryMessage: wherever a connection is cut, the node comes to the newest slice,
// its status and all events come to the controller, each event once or more, in order.
func TestCutAtEveryMessage(t *testing.T) {
	t.Parallel()
	for _, direction := range []string{"down", "up"} {
		for at := 1; at <= 10; at++ {
			t.Run(fmt.Sprintf("%s %d", direction, at), func(t *testing.T) {
				t.Parallel()
				c := uplinktest.Start(t)
				cut := errors.New("cut")
				if direction == "down" {
					c.SetFault(func(_ context.Context, n int, _ *ktrdrv1.ControllerMessage) error {
						if n == at {
							return cut
						}
						return nil
					})
				} else {
					c.SetHeard(func(_ context.Context, n int, _ *ktrdrv1.AgentMessage) error {
						if n == at {
							return cut
						}
						return nil
					})
				}
				s := c.SliceOf(map[string]string{"fleet.yaml": big("one"), "x": "y"})
				c.Publish(s)
				n := run(t, c, options{})
				n.event("one")
				last := n.event("two")
				c.AwaitEvents(t, last)
				c.AwaitStatus(t, "newest status", func(u *ktrdrv1.StatusUpdate) bool { return u.GetSliceDigest() == s.GetDigest() })
				last = n.event("three")
				all := c.AwaitEvents(t, last)
				seen := map[uint64]bool{}
				for _, e := range all {
					seen[e.GetSeq()] = true
				}
				if len(seen) != 3 {
					t.Errorf("events %v", all)
				}
				await(t, "acceptance", func() bool { return len(n.accepts()) > 0 })
				wantFile(t, n.accepts()[0].Dir, "fleet.yaml", big("one"))
			})
		}
	}
}

func TestNextEndpoint(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	s := c.SliceOf(map[string]string{"fleet.yaml": "1"})
	c.Publish(s)
	n := run(t, c, options{endpoints: []string{"127.0.0.1:1", c.Addr, "localhost:2"}})
	c.AwaitResult(t, s.GetDigest(), true)
	if st := n.link.State(); st.Endpoint != c.Addr {
		t.Errorf("state %+v", st)
	}
}

func TestControllerGoesAndComesBack(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	s := c.SliceOf(map[string]string{"fleet.yaml": "1"})
	c.Publish(s)
	cache := t.TempDir()
	n := run(t, c, options{cacheDir: cache})
	c.AwaitResult(t, s.GetDigest(), true)
	c.Down()
	await(t, "the loss", func() bool { return !n.link.State().Connected && n.link.State().LastError != "" })
	n.event("while away")
	n.change(func() { n.status.Ready = true })

	// A restart of the agent meanwhile: what was accepted is there.
	n.stop()
	again := run(t, c, options{cacheDir: cache, endpoints: []string{c.Addr}})
	if tree, ok := again.source.Cached(s.GetRevision()); !ok || tree.Revision.Digest != s.GetDigest() {
		t.Errorf("Cached = %+v, %v", tree, ok)
	}
	last := again.event("after the restart")
	c.Up(t)
	c.AwaitEvents(t, last)
	hellos := c.Hellos()
	if h := hellos[len(hellos)-1]; h.GetSliceDigest() != s.GetDigest() || h.GetRunId() == hellos[0].GetRunId() {
		t.Errorf("hello %v after %v", h, hellos[0])
	}
	if r := c.Requests(); len(r) != 1 {
		t.Errorf("%d requests for files, want those of the beginning only", len(r))
	}
}

func TestStrangerIsNoController(t *testing.T) {
	t.Parallel()
	c, stranger := uplinktest.Start(t), uplinktest.Start(t)
	n := run(t, stranger, options{dial: dialer(c.Enroll(t, filepath.Join(t.TempDir(), "keys"), "b")), endpoints: []string{stranger.Addr}})
	await(t, "an error", func() bool { return strings.Contains(n.link.State().LastError, "unknown authority") })
	if got := stranger.Counts().Streams; got != 0 {
		t.Errorf("%d streams with a stranger", got)
	}
}

func TestNoWelcome(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	c.SetFault(func(ctx context.Context, _ int, _ *ktrdrv1.ControllerMessage) error {
		<-ctx.Done()
		return ctx.Err()
	})
	timing := fast()
	timing.Welcome = time.Second // enough for the one that comes in the end
	n := run(t, c, options{timing: timing})
	await(t, "an error", func() bool { return strings.Contains(n.link.State().LastError, "no welcome") })
	c.SetFault(func(_ context.Context, _ int, m *ktrdrv1.ControllerMessage) error {
		if m.GetWelcome() != nil {
			m.Kind = &ktrdrv1.ControllerMessage_StatusAck{StatusAck: &ktrdrv1.StatusAck{Seq: 1}}
		}
		return nil
	})
	await(t, "another error", func() bool { return strings.Contains(n.link.State().LastError, "is no welcome") })
	c.SetFault(nil)
	await(t, "connection", func() bool { return n.link.State().Connected })
}

// TestStalledReader: a controller that stops reading is given up, and the next stream works.
func TestStalledReader(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	timing := fast()
	timing.Send = 3 * time.Second // enough for a controller that reads
	release := make(chan struct{})
	n := run(t, c, options{timing: timing})
	c.AwaitStatus(t, "a status", func(*ktrdrv1.StatusUpdate) bool { return true })
	c.SetHeard(func(ctx context.Context, _ int, _ *ktrdrv1.AgentMessage) error {
		select {
		case <-ctx.Done():
		case <-release:
		}
		return ctx.Err()
	})
	n.mu.Lock()
	for range 2000 {
		n.lines = append(n.lines, uplink.LogLine{Stack: "core", Text: strings.Repeat("x", 1000)})
	}
	n.mu.Unlock()
	c.Begin(t, &ktrdrv1.Command{Kind: &ktrdrv1.Command_Logs{Logs: &ktrdrv1.LogsCommand{Tail: -1}}})
	await(t, "the stream is given up", func() bool { return strings.Contains(n.link.State().LastError, "has read nothing") })
	c.SetHeard(nil)
	close(release)
	c.AwaitStreams(t, 2)
	n.change(func() { n.status.Ready = true })
	c.AwaitStatus(t, "status on the next stream", func(u *ktrdrv1.StatusUpdate) bool { return u.GetStatus().GetReady() })
}

func TestContentsThatDoNotCome(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	c.SetFault(func(_ context.Context, _ int, m *ktrdrv1.ControllerMessage) error {
		if m.GetFiles() != nil {
			m.Kind = nil // a kind that this agent does not know
		}
		return nil
	})
	timing := fast()
	timing.Answer = time.Second // enough for those that come in the end
	n := run(t, c, options{timing: timing})
	s := c.SliceOf(map[string]string{"fleet.yaml": "1"})
	c.AwaitConnected(t, true)
	c.Publish(s)
	await(t, "several requests", func() bool { return c.Counts().Requests > 2 })
	if len(n.accepts()) > 0 {
		t.Error("accepted without contents")
	}
	c.SetFault(nil)
	c.AwaitResult(t, s.GetDigest(), true)
}

// TestHugeMessage: what is over the limit ends the stream, not the agent.
func TestHugeMessage(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	n := run(t, c, options{})
	c.AwaitConnected(t, true)
	c.Send(t, &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_Files{Files: &ktrdrv1.FileBatch{
		Gone: [][]byte{make([]byte, wire.MaxMessage+1)},
	}}})
	c.AwaitStreams(t, 2)
	await(t, "connection", func() bool { return n.link.State().Connected })
}

func TestStatusIsCoalesced(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	n := run(t, c, options{})
	c.AwaitStatus(t, "first", func(*ktrdrv1.StatusUpdate) bool { return true })
	began := time.Now()
	for i := range 200 {
		n.change(func() { n.status.Version = fmt.Sprint(i) })
	}
	c.AwaitStatus(t, "newest", func(u *ktrdrv1.StatusUpdate) bool { return u.GetStatus().GetVersion() == "199" })
	if most := 3 + int(time.Since(began)/(200*time.Millisecond)); c.Counts().Statuses > most {
		t.Errorf("%d statuses for 200 changes at once, want at most %d", c.Counts().Statuses, most)
	}
	before := c.Counts().Statuses
	for range 20 {
		n.change(func() {}) // a bell, and nothing new
	}
	last := n.event("a mark")
	c.AwaitEvents(t, last)
	n.change(func() { n.status.Version = "end" })
	c.AwaitStatus(t, "end", func(u *ktrdrv1.StatusUpdate) bool { return u.GetStatus().GetVersion() == "end" })
	if got := c.Counts().Statuses - before; got != 1 {
		t.Errorf("%d statuses for one change", got)
	}
}

func TestEndpointsAreChecked(t *testing.T) {
	t.Parallel()
	for _, bad := range [][]string{nil, {""}, {"host"}, {"host:"}, {":8443"}, {"host:port"}, {"host:0"}, {"ho st:1"}, {"a/b:1"}, {"u@h:1"}, {"h:99999"}, make([]string, 17)} {
		if err := uplink.CheckEndpoints(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if err := uplink.CheckEndpoints([]string{"controller.example:8443", "[::1]:443", "10.0.0.1:8443"}); err != nil {
		t.Error(err)
	}
}
