package hub_test

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"ktrdr.io/fleet/pkg/controller/hub"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

func status(t *testing.T, change func(*ktrdrv1.NodeStatus)) *hub.Status {
	t.Helper()
	m := &ktrdrv1.NodeStatus{
		Node: "a", Ready: true, Time: timestamppb.New(time.Unix(1, 0)), Stacks: []*ktrdrv1.StackStatus{{Name: "app", Converged: true}},
		SecretProviders: []*ktrdrv1.ProviderState{{Name: "vault", Requests: 7, LastSuccess: timestamppb.New(time.Unix(1, 0))}},
	}
	change(m)
	packed, err := hub.Pack(m)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// TestKeptStatus: what is kept is read back, also where it was not packed.
func TestKeptStatus(t *testing.T) {
	at := time.Unix(1_800_000_000, 0).UTC()
	want := hub.Node{Name: "a", Version: "1", Digest: "d", Revision: "r", StatusDigest: "d", StatusAt: at, Status: status(t, func(*ktrdrv1.NodeStatus) {})}
	data, err := hub.EncodeNode(want)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := proto.Marshal(want.Status.Message())
	if err != nil {
		t.Fatal(err)
	}
	for what, data := range map[string][]byte{
		"packed": data,
		"plain":  append([]byte(`{"Version":"1","Digest":"d","Revision":"r","StatusDigest":"d","StatusAt":"2027-01-15T08:00:00Z"}`+"\n"), plain...),
	} {
		got := hub.Node{Name: "a"}
		if err := hub.DecodeNode(data, &got); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if !proto.Equal(got.Status.Message(), want.Status.Message()) || got.Version != "1" || got.StatusDigest != "d" || !got.StatusAt.Equal(at) || !got.Status.Converged {
			t.Errorf("%s: %+v", what, got)
		}
	}
	for what, broken := range map[string][]byte{
		"cut":        data[:len(data)-20],
		"no line":    []byte("{}"),
		"too large":  bytes.Replace(data, []byte(`"Size":`), []byte(`"Size":99999999`), 1),
		"impossible": bytes.Replace(data, []byte(`"Size":`), []byte(`"Size":-`), 1),
	} {
		got := hub.Node{Name: "a"}
		if err := hub.DecodeNode(broken, &got); err == nil {
			t.Errorf("%s: it is read: %+v", what, got)
		}
	}
}

// TestGist: what changes all the time is no reason to write, everything else is.
func TestGist(t *testing.T) {
	before := hub.Gist(hub.Node{Status: status(t, func(*ktrdrv1.NodeStatus) {})})
	same := status(t, func(m *ktrdrv1.NodeStatus) {
		m.Time, m.SourceCheckedAt = timestamppb.Now(), timestamppb.Now()
		m.SecretProviders[0].Requests, m.SecretProviders[0].LastSuccess = 8, timestamppb.Now()
	})
	if hub.Gist(hub.Node{Status: same}) != before {
		t.Error("a status that differs in times only is another one")
	}
	for what, other := range map[string]hub.Node{
		"stack":   {Status: status(t, func(m *ktrdrv1.NodeStatus) { m.Stacks[0].Converged = false })},
		"digest":  {Status: same, Digest: "d"},
		"version": {Status: same, Version: "2"},
		"none":    {},
	} {
		if hub.Gist(other) == before {
			t.Errorf("%s: it is the same", what)
		}
	}
}
