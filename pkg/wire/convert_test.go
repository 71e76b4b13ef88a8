package wire_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/wire"
	"ktrdr.io/fleet/pkg/wire/wiretest"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// conversion proves one pair of conversions. fix changes a filled noun where not every
// value means something; nil: nothing.
func conversion[Noun any, Message proto.Message](to func(Noun) Message, from func(Message) Noun, fix func(*Noun)) func(*testing.T) {
	return func(t *testing.T) {
		t.Run("filled", func(t *testing.T) {
			var want Noun
			wiretest.Fill(t, &want)
			if fix != nil {
				fix(&want)
			}
			message := to(want)
			if missing := wiretest.Unset(message.ProtoReflect()); len(missing) > 0 {
				t.Errorf("nothing fills these fields of the message: %v", missing)
			}
			if diff := cmp.Diff(want, from(sent(t, message))); diff != "" {
				t.Errorf("lost on the way (-sent +received):\n%s", diff)
			}
		})
		t.Run("empty", func(t *testing.T) {
			var want Noun
			if fix != nil {
				fix(&want)
			}
			got := from(sent(t, to(want)))
			if diff := cmp.Diff(document(t, want), document(t, got)); diff != "" {
				t.Errorf("JSON differs (-sent +received):\n%s", diff)
			}
		})
		t.Run("no UTF-8", func(t *testing.T) {
			var garbled Noun
			wiretest.Fill(t, &garbled)
			wiretest.Garble(&garbled)
			sent(t, to(garbled))
		})
	}
}

func sent[Message proto.Message](t *testing.T, m Message) Message {
	t.Helper()
	data, err := proto.Marshal(m)
	must(t, err)
	received := m.ProtoReflect().New().Interface().(Message)
	must(t, proto.Unmarshal(data, received))
	return received
}

// document is JSON with null and [] alike: readers take both for empty.
func document(t *testing.T, v any) any {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	var out any
	must(t, json.Unmarshal(data, &out))
	return withoutEmpty(out)
}

func withoutEmpty(v any) any {
	fields, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for key, value := range fields {
		items, isList := value.([]any)
		if value == nil || (isList && len(items) == 0) {
			delete(fields, key)
			continue
		}
		fields[key] = withoutEmpty(value)
	}
	return fields
}

func TestConversionsLoseNothing(t *testing.T) {
	// The link is told on the node only.
	t.Run("NodeStatus", conversion(wire.NodeStatusToProto, wire.NodeStatusFromProto, func(s *api.NodeStatus) { s.Link = nil }))
	t.Run("StackStatus", conversion(wire.StackStatusToProto, wire.StackStatusFromProto, nil))
	t.Run("Condition", conversion(wire.ConditionToProto, wire.ConditionFromProto, nil))
	t.Run("Event", conversion(wire.EventToProto, wire.EventFromProto, nil))
	t.Run("SecretsStatus", conversion(wire.SecretsStatusToProto, wire.SecretsStatusFromProto, nil))
	t.Run("Hold", conversion(wire.HoldToProto, func(h *ktrdrv1.Hold) api.Hold { return *wire.HoldFromProto(h) }, nil))
	t.Run("Check", conversion(wire.CheckToProto, wire.CheckFromProto, func(c *api.Check) { c.Result = api.CheckWarn }))
}

// TestListsThatJSONShowsAreNotNull: `ktrdrctl status -o json | jq '.stacks[]'` must not fail.
func TestListsThatJSONShowsAreNotNull(t *testing.T) {
	data, err := json.Marshal([]any{
		wire.NodeStatusFromProto(nil), wire.StackStatusFromProto(nil), wire.SecretsStatusFromProto(nil),
	})
	must(t, err)
	var documents []map[string]any
	must(t, json.Unmarshal(data, &documents))
	for _, d := range documents {
		for key, value := range d {
			if value == nil {
				t.Errorf("%s is null", key)
			}
		}
	}
}

func TestWhatIsOutOfRange(t *testing.T) {
	if got := wire.CheckFromProto(&ktrdrv1.Check{Result: "splendid", Millis: 1 << 62}); got.Result != api.CheckFail || got.Took != 24*time.Hour {
		t.Errorf("a check of a newer agent: %+v", got)
	}
	bad := wire.Timestamp(time.Unix(0, 0))
	bad.Nanos = -1
	if got := wire.Time(bad); !got.IsZero() {
		t.Errorf("a timestamp out of range became %s", got)
	}
}

func FuzzNodeStatus(f *testing.F) {
	var status api.NodeStatus
	wiretest.Fill(f, &status)
	data, err := proto.Marshal(wire.NodeStatusToProto(status))
	must(f, err)
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var message ktrdrv1.NodeStatus
		if proto.Unmarshal(data, &message) != nil {
			return
		}
		first := wire.NodeStatusFromProto(&message)
		if diff := cmp.Diff(first, wire.NodeStatusFromProto(sent(t, wire.NodeStatusToProto(first)))); diff != "" {
			t.Error(diff)
		}
	})
}
