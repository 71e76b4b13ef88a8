package e2e_test

import (
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/uplink/uplinktest"
	"ktrdr.io/fleet/pkg/api"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
	"ktrdr.io/fleet/test/canary"
)

// controlled is an agent with a controller of its own beside its git repository.
type controlled struct {
	*origin
	controller  *uplinktest.Controller
	credentials string
}

func newControlled(t *testing.T) *controlled {
	t.Helper()
	o := newOrigin(t)
	c := &controlled{origin: o, controller: uplinktest.Start(t), credentials: filepath.Join(o.home, "credentials")}
	c.controller.Enroll(t, c.credentials, o.project)
	return c
}

// stream is the configuration of controller mode.
func (c *controlled) stream() string {
	return fmt.Sprintf("source: {controller: {endpoints: ['%s'], credentialsDir: %s}}", c.controller.Addr, c.credentials)
}

// publish makes the repository the newest slice under a commit.
func (c *controlled) publish(commit string) *ktrdrv1.Slice {
	c.t.Helper()
	s := c.controller.SliceOfTree(c.t, c.repo, c.project)
	s.Revision = commit
	c.controller.Publish(s)
	return s
}

// TestModesAreInterchangeable: git mode, controller mode, and git mode again on one node,
// and not one container is touched, whichever side is down in between.
func TestModesAreInterchangeable(t *testing.T) {
	c := newControlled(t)
	c.write("stacks/app/web.conf", "a file that a container binds\n")
	c.compose(strings.Replace(twoServices, "    restart: unless-stopped\n", "    restart: unless-stopped\n    volumes: [\"./web.conf:/web.conf:ro\"]\n", 1))
	first := c.push()
	c.start(c.source(", pollInterval: 1s"))
	c.reached(first)
	before := c.on.snapshot(t, c.name("web"), c.name("other"))

	slice := c.publish(first)
	c.restart(c.stream())
	st := c.await("the slice of the same commit", time.Minute, func(st api.NodeStatus) bool {
		return st.Revision == first && allConverged(st) && st.Link != nil && st.Link.Connected
	})
	c.controller.AwaitResult(t, slice.GetDigest(), true)
	c.controller.AwaitStatus(t, "the status", func(u *ktrdrv1.StatusUpdate) bool {
		return u.GetSliceDigest() == slice.GetDigest() && toldConverged(u)
	})
	if st.Link.Endpoint != c.controller.Addr || st.Link.Controller != "test-controller" {
		t.Errorf("link %+v", st.Link)
	}
	c.on.untouched(t, before)

	c.controller.Down()
	c.await("the loss", time.Minute, func(st api.NodeStatus) bool {
		return !st.Link.Connected && st.Link.LastError != "" && len(conditions(st, api.ReasonSourceFailed)) == 1
	})
	c.restart(c.stream())
	c.await("the last good state without a controller", time.Minute, func(st api.NodeStatus) bool { return st.Revision == first && allConverged(st) })
	c.on.untouched(t, before)
	c.on.remove(t, c.name("other"))
	c.await("repair without a controller", time.Minute, func(st api.NodeStatus) bool {
		return allConverged(st) && service(st, c.name("other")).ID != before[c.name("other")].ID
	})
	before = c.on.snapshot(t, c.name("web"), c.name("other"))

	c.controller.Up(t)
	c.await("the connection", time.Minute, func(st api.NodeStatus) bool {
		return st.Link.Connected && len(st.Conditions) == 0
	})
	c.on.untouched(t, before)
	if n := len(c.controller.Requests()); n != 1 {
		t.Errorf("asked %d times for files, want once in all", n)
	}

	c.restart(c.source(", pollInterval: 1s"))
	c.reached(first)
	if st := c.status(); st.Link != nil {
		t.Errorf("link in git mode: %+v", st.Link)
	}
	c.on.untouched(t, before)
}

// TestControllerPush: an edit, an invalid one, and a plan come over the stream.
func TestControllerPush(t *testing.T) {
	c := newControlled(t)
	first := c.push()
	good := c.publish(first)
	c.start(c.stream())
	c.controller.AwaitResult(t, good.GetDigest(), true)
	c.reached(first)

	c.edit("over the stream")
	second := c.push()
	began := time.Now()
	slice := c.publish(second)
	c.controller.AwaitStatus(t, "converged on the edit", func(u *ktrdrv1.StatusUpdate) bool {
		return u.GetSliceDigest() == slice.GetDigest() && u.GetStatus().GetRevision() == second && toldConverged(u)
	})
	t.Logf("slice to the status that it is converged: %s", time.Since(began).Round(time.Millisecond))

	c.compose("services: {web: {image: [1]}}")
	bad := c.publish(strings.Repeat("b", 40))
	result := c.controller.AwaitResult(t, bad.GetDigest(), false)
	if result.GetReason() != string(api.ReasonInvalid) || !strings.Contains(result.GetMessage(), "compose.yaml:1:") {
		t.Errorf("result of an invalid slice: %v", result)
	}
	if st := c.status(); st.Revision != second || len(conditions(st, api.ReasonInvalid)) != 1 {
		t.Errorf("revision %s, conditions %+v", st.Revision, st.Conditions)
	}

	c.edit("planned only")
	planned := c.controller.SliceOfTree(t, c.repo, c.project)
	answer := c.controller.Command(t, &ktrdrv1.Command{Kind: &ktrdrv1.Command_Plan{Plan: &ktrdrv1.PlanCommand{Slice: planned}}})
	if p := answer.Result.GetPlan().GetPlans(); len(p) != 1 || len(p[0].GetOperations()) == 0 || p[0].GetRevision() != planned.GetRevision() {
		t.Errorf("plan %v", answer.Result)
	}
	if st := c.status(); st.Revision != second {
		t.Errorf("a plan changed the revision to %s", st.Revision)
	}
}

// TestNoSecretOnTheStream: a program that prints its secret, in every way in which a
// controller can ask for its words, and all bytes that the controller got.
func TestNoSecretOnTheStream(t *testing.T) {
	c := newControlled(t)
	word := canary.Word("word")
	c.stack("variables: {DB_PASSWORD: \"op://e2e/core/db_password\"}")
	c.compose(`
services:
  talk:
    image: ktrdr-demo:1
    command: ["sh", "-c", "echo said $$DB_PASSWORD && echo ` + strings.Repeat("x", 16<<10-8) + `$$DB_PASSWORD && echo quiet && sleep 3600"]
    stop_grace_period: 1s
    restart: unless-stopped
    environment: {DB_PASSWORD: "${DB_PASSWORD}", ROUND: "1"}
    healthcheck: {disable: true}
`)
	file := filepath.Join(c.home, "secrets.env")
	writeFile(t, file, "DB_PASSWORD="+word.Value+"\n", 0o600)
	c.extra = []string{"secrets: {dotenv: {file: " + file + "}, refresh: 1s}"}
	c.publish(strings.Repeat("a", 40))
	c.start(c.stream())
	c.controller.AwaitStatus(t, "converged", toldConverged)
	follow := c.controller.Begin(t, &ktrdrv1.Command{Kind: &ktrdrv1.Command_Logs{Logs: &ktrdrv1.LogsCommand{Tail: -1, Follow: true}}})
	said := func(times int) func(*uplinktest.Answer) bool {
		return func(a *uplinktest.Answer) bool {
			n, quiet := 0, 0
			for _, line := range a.Logs {
				if line.GetText() == "said [redacted]" && line.GetService() == "talk" && line.GetStack() == "app" {
					n++
				}
				if line.GetText() == "quiet" {
					quiet++
				}
			}
			return n >= times && quiet >= times
		}
	}
	c.controller.AwaitAnswer(t, follow, "the log", said(1))
	// A replaced container's successor is followed too.
	c.write("stacks/app/compose.yaml", strings.Replace(readFile(t, filepath.Join(c.repo, "stacks/app/compose.yaml")), `ROUND: "1"`, `ROUND: "2"`, 1))
	c.publish(strings.Repeat("c", 40))
	c.controller.AwaitAnswer(t, follow, "the log of the successor", said(2))
	c.controller.Send(t, &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_Cancel{Cancel: &ktrdrv1.CancelCommand{Id: follow}}})
	c.controller.AwaitAnswer(t, follow, "the end", func(a *uplinktest.Answer) bool { return a.Result != nil })
	for _, m := range []*ktrdrv1.Command{
		{Kind: &ktrdrv1.Command_Logs{Logs: &ktrdrv1.LogsCommand{Tail: 1}}},
		{Kind: &ktrdrv1.Command_Plan{Plan: &ktrdrv1.PlanCommand{}}},
		{Kind: &ktrdrv1.Command_Secrets{Secrets: &ktrdrv1.SecretsCommand{}}},
		{Kind: &ktrdrv1.Command_Doctor{Doctor: &ktrdrv1.DoctorCommand{}}},
		{By: rand.Text(), Kind: &ktrdrv1.Command_Sync{Sync: &ktrdrv1.SyncCommand{}}},
	} {
		if r := c.controller.Command(t, m).Result; r.GetReason() != "" {
			t.Errorf("%T: %v", m.GetKind(), r)
		}
	}
	for _, hit := range canary.New(word).Text("the stream", string(c.controller.Tap())) {
		t.Error(hit)
	}
}

// toldConverged: the one stack is.
func toldConverged(u *ktrdrv1.StatusUpdate) bool {
	stacks := u.GetStatus().GetStacks()
	return len(stacks) == 1 && stacks[0].GetConverged()
}
