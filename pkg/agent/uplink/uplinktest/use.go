package uplinktest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/wire/pki"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Enroll gives a node its certificate in a new folder.
func (c *Controller) Enroll(t testing.TB, dir, node string) *pki.Credentials {
	t.Helper()
	store, err := pki.OpenKeyStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := store.Request()
	if err != nil {
		t.Fatal(err)
	}
	issued, err := c.Authority.IssueNode(node, csr)
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := store.Install(pki.Grant{Kind: pki.Node, Name: node, Chain: issued.Chain, Authorities: c.Authority.BundleDER()})
	if err != nil {
		t.Fatal(err)
	}
	return credentials
}

// TLS is the configuration of an agent.
func TLS(c *pki.Credentials) func() (*tls.Config, error) {
	return func() (*tls.Config, error) {
		return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: c.Authorities, Certificates: []tls.Certificate{c.Certificate}}, nil
	}
}

// SliceOf makes a slice of files, and contents available for FileRequest. Scripts (.sh)
// are executable. The revision is a digest of the files, and as long as a commit.
func (c *Controller) SliceOf(files map[string]string) *ktrdrv1.Slice {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &ktrdrv1.Slice{
		Branch: "main", Author: "Ada <ada@example.org>", Subject: "change", Time: timestamppb.New(time.Unix(1_700_000_000, 0)),
	}
	var list []desired.File
	for _, name := range slices.Sorted(maps.Keys(files)) {
		sum := c.state.keepContent([]byte(files[name]))
		mode := fs.FileMode(0o644)
		if filepath.Ext(name) == ".sh" {
			mode = 0o755
		}
		s.Files = append(s.Files, &ktrdrv1.SliceFile{Path: name, Mode: uint32(mode), Size: int64(len(files[name])), Sha256: sum})
		list = append(list, desired.File{Path: name, Mode: mode, Size: int64(len(files[name])), SHA256: fmt.Sprintf("%x", sum)})
	}
	s.Digest = desired.SliceDigest(list)
	s.Revision = fmt.Sprintf("%x", sha256.Sum256([]byte(s.GetDigest())))[:40]
	return s
}

// SliceOfTree is SliceOf of a repository, as the controller slices it.
func (c *Controller) SliceOfTree(t testing.TB, root, node string) *ktrdrv1.Slice {
	t.Helper()
	slice, err := desired.SliceOf(t.Context(), root, node)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range slice.Files {
		data, err := os.ReadFile(filepath.Join(root, f.Path)) //nolint:gosec // the test's own tree
		if err != nil {
			t.Fatal(err)
		}
		files[f.Path] = string(data)
	}
	s := c.SliceOf(files)
	for i, f := range slice.Files {
		s.Files[i].Mode = uint32(f.Mode)
	}
	s.Digest = slice.Digest
	return s
}

// Publish makes a slice the newest and sends it to who is connected.
func (c *Controller) Publish(s *ktrdrv1.Slice) {
	var out *stream
	c.change(func(st *state) {
		st.slice = s
		out = c.stream
	})
	if out != nil {
		select {
		case out.out <- sliceMessage(s):
		case <-out.done:
		}
	}
}

// Command sends a command and waits for its end.
func (c *Controller) Command(t testing.TB, m *ktrdrv1.Command) *Answer {
	t.Helper()
	id := c.Begin(t, m)
	c.eventually(t, "result of a command", func(s *state) bool { return s.answer(id).Result != nil })
	return c.Answer(id)
}

// Begin sends a command and returns its id.
func (c *Controller) Begin(t testing.TB, m *ktrdrv1.Command) string {
	t.Helper()
	m.Id = rand.Text()
	c.Send(t, &ktrdrv1.ControllerMessage{Kind: &ktrdrv1.ControllerMessage_Command{Command: m}})
	return m.GetId()
}

// Answer is what came of a command until now.
func (c *Controller) Answer(id string) *Answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := *c.state.answer(id)
	return &a
}

// AwaitAnswer waits until cond is true of what came of a command.
func (c *Controller) AwaitAnswer(t testing.TB, id, what string, cond func(*Answer) bool) {
	t.Helper()
	c.eventually(t, what, func(s *state) bool { return cond(s.answer(id)) })
}

// AwaitStatus waits for a status that cond is true of.
func (c *Controller) AwaitStatus(t testing.TB, what string, cond func(*ktrdrv1.StatusUpdate) bool) {
	t.Helper()
	c.eventually(t, what, func(s *state) bool { return len(s.statuses) > 0 && cond(s.statuses[len(s.statuses)-1]) })
}

// AwaitResult waits until the last word on a slice is this.
func (c *Controller) AwaitResult(t testing.TB, digest string, accepted bool) *ktrdrv1.SliceResult {
	t.Helper()
	var last *ktrdrv1.SliceResult
	c.eventually(t, fmt.Sprintf("slice %s accepted: %v", digest, accepted), func(s *state) bool {
		if len(s.results) > 0 {
			last = s.results[len(s.results)-1]
		}
		return last.GetDigest() == digest && last.GetAccepted() == accepted
	})
	return last
}

// AwaitConnected waits until an agent is connected, or none is.
func (c *Controller) AwaitConnected(t testing.TB, want bool) {
	t.Helper()
	c.eventually(t, fmt.Sprintf("connected: %v", want), func(s *state) bool { return s.connected == want })
}

// AwaitStreams waits for the n-th stream.
func (c *Controller) AwaitStreams(t testing.TB, n int) {
	t.Helper()
	c.eventually(t, fmt.Sprintf("%d streams", n), func(s *state) bool { return s.streams >= n && s.connected })
}

// AwaitEvents waits until the newest event of any run has the number.
func (c *Controller) AwaitEvents(t testing.TB, seq uint64) []*ktrdrv1.Event {
	t.Helper()
	var all []*ktrdrv1.Event
	c.eventually(t, fmt.Sprintf("event %d", seq), func(s *state) bool {
		all = nil
		for _, list := range s.events {
			all = append(all, list...)
		}
		return slices.ContainsFunc(all, func(e *ktrdrv1.Event) bool { return e.GetSeq() == seq })
	})
	return all
}

// Counts tells how often something happened.
type Counts struct{ Streams, Statuses, Requests, Results, Renewed int }

// Counts counts.
func (c *Controller) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Counts{c.state.streams, len(c.state.statuses), len(c.state.requests), len(c.state.results), c.state.renewed}
}

// Hellos are those of all streams.
func (c *Controller) Hellos() []*ktrdrv1.Hello {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.state.hellos)
}

// Requests are those for files.
func (c *Controller) Requests() []*ktrdrv1.FileRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.state.requests)
}

// Join implements the contract: each token once.
func (c *Controller) Join(_ context.Context, r *ktrdrv1.JoinRequest) (*ktrdrv1.JoinResponse, error) {
	token, err := pki.ParseJoinToken(r.GetJoinToken())
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.tokens[token.ID] {
		return nil, errors.New("the token was used already")
	}
	issued, err := c.Authority.IssueNode(token.Node, r.GetCsr())
	if err != nil {
		return nil, err
	}
	c.state.tokens[token.ID] = true
	return &ktrdrv1.JoinResponse{Node: token.Node, Chain: issued.Chain, Authority: c.Authority.BundleDER(), Endpoints: []string{c.Addr}}, nil
}

// Renew implements the contract.
func (c *Controller) Renew(ctx context.Context, r *ktrdrv1.RenewRequest) (*ktrdrv1.RenewResponse, error) {
	id, err := identity(ctx)
	if err != nil {
		return nil, err
	}
	issued, err := c.Authority.IssueNode(id.Name, r.GetCsr())
	if err != nil {
		return nil, err
	}
	c.change(func(s *state) { s.renewed++ })
	return &ktrdrv1.RenewResponse{Chain: issued.Chain, Authority: c.Authority.BundleDER(), Endpoints: []string{c.Addr}}, nil
}
