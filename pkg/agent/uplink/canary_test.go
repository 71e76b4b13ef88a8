package uplink_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"ktrdr.io/fleet/pkg/agent/uplink"
	"ktrdr.io/fleet/pkg/agent/uplink/uplinktest"
	"ktrdr.io/fleet/pkg/api"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
	"ktrdr.io/fleet/test/canary"
)

// TestNothingSecretOnTheWire plants a secret wherever a program, an engine or a person can
// put words, and looks for it in all bytes that reach the controller.
func TestNothingSecretOnTheWire(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	n := run(t, c, options{doctor: doctor{}})
	c.AwaitConnected(t, true)
	said := "the program says " + secretText
	n.change(func() {
		n.status.Conditions = []api.Condition{{Type: api.ConditionDegraded, Reason: api.ReasonEngineFailed, Message: said}}
		n.status.Registrars = []api.RegistrarStatus{{URL: "http://backend", Message: said}}
		n.status.Backups = []api.BackupStatus{{Name: "db", File: said, Message: said}}
		n.status.Mounts = []api.MountStatus{{Path: "/mnt/x", Message: said}}
		n.status.SecretProviders = []api.ProviderState{{Name: "connect", Message: said}}
		n.status.Stacks = []api.StackStatus{{
			Name: "core", Message: said, Pending: []string{said}, Conditions: []api.Condition{{Message: said}},
			Services: []api.ServiceStatus{{Service: "db", Message: said, Registration: &api.RegistrationStatus{State: said, Message: said}}}, Hold: &api.Hold{Why: said, Who: said},
			Rollout: &api.RolloutStatus{Failed: &api.FailedUpdate{Message: said, Log: []string{said, "and\xff" + secretText}}},
		}}
		n.status.Ready = true
	})
	n.mu.Lock()
	n.lines = []uplink.LogLine{{Stack: "core", Text: said}} // as if the reader of logs had a defect
	n.mu.Unlock()
	c.AwaitEvents(t, n.event(said))
	bad := c.SliceOf(map[string]string{"bad": "x"})
	c.Publish(bad)
	c.AwaitResult(t, bad.GetDigest(), false)
	for _, m := range []*ktrdrv1.Command{
		{Kind: &ktrdrv1.Command_Plan{Plan: &ktrdrv1.PlanCommand{}}},
		{Kind: &ktrdrv1.Command_Plan{Plan: &ktrdrv1.PlanCommand{Slice: bad}}},
		{Kind: &ktrdrv1.Command_Secrets{Secrets: &ktrdrv1.SecretsCommand{}}},
		{Kind: &ktrdrv1.Command_Doctor{Doctor: &ktrdrv1.DoctorCommand{}}},
		logsCommand(&ktrdrv1.LogsCommand{Tail: -1}), logsCommand(&ktrdrv1.LogsCommand{Stack: "broken"}),
	} {
		c.Command(t, m)
	}
	c.AwaitStatus(t, "the status", func(u *ktrdrv1.StatusUpdate) bool { return u.GetStatus().GetReady() })
	tap := string(c.Tap())
	for _, hit := range canary.New(canary.Secret{Name: "password", Value: secretText}).Text("the wire", tap) {
		t.Error(hit)
	}
	if got := strings.Count(tap, "[redacted]"); got < 29 {
		t.Errorf("%d places were redacted; what was planted did not get to the wire", got)
	}
}

// names are the strings of the contract that are redacted by nobody: names out of the
// desired state, which the controller has, references, digests, ids and fixed words.
func names() map[string][]string {
	return map[string][]string{
		"Hello":              {"version", "commit", "platform", "slice_digest", "revision", "run_id", "commands"},
		"SliceResult":        {"digest", "revision", "reason"},
		"FileRequest":        {"revision"},
		"StatusUpdate":       {"slice_digest"},
		"NodeStatus":         {"node", "version", "revision", "source_revision"},
		"Engine":             {"version", "api_version", "storage_driver"},
		"PolicyStatus":       {"file"},
		"Condition":          {"type", "reason", "object"},
		"StackReference":     {"reference", "phase"},
		"RegistrationStatus": {"reason"},
		"RegistrarStatus":    {"url", "reason"},
		"BackupStatus":       {"name", "stack", "reason"},
		"StackStatus":        {"name", "project", "reason"},
		"ServiceStatus":      {"service", "container", "id", "image", "running_image", "wanted_digest", "actual_digest", "state", "health", "reason"},
		"RolloutStatus":      {"phase", "good"},
		"FailedUpdate":       {"revision", "digest", "images", "action", "service", "container", "reason"},
		"MountStatus":        {"path", "reason"},
		"ProviderState":      {"name", "schemes", "reason"},
		"VaultScope":         {"id", "name"},
		"Event":              {"level", "stack", "object", "reason"},
		"CommandOutput":      {"id"},
		"LogLine":            {"stack", "service", "container", "node"},
		"Check":              {"name", "result"},
		"CommandResult":      {"id", "reason"},
		"StackPlan":          {"stack", "revision"},
		"Operation":          {"key", "kind", "object", "service", "id", "needs"},
		"FieldDiff":          {"path"},
		"Problem":            {"file", "path"},
		"SecretsStatus":      {"node"},
		"ReferenceStatus":    {"reference", "provider", "phase", "reason"},
		"ReferenceUser":      {"stack", "service", "registry"},
	}
}

// TestEveryStringIsJudged: each string that an agent can send is either redacted or a name.
func TestEveryStringIsJudged(t *testing.T) {
	t.Parallel()
	known, judged := names(), map[string]bool{}
	redacted := uplink.FreeTexts()
	var visit func(m protoreflect.MessageDescriptor)
	visit = func(m protoreflect.MessageDescriptor) {
		if judged[string(m.Name())] || m.IsMapEntry() {
			return
		}
		judged[string(m.Name())] = true
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			name := slices.Contains(known[string(m.Name())], string(f.Name()))
			free := redacted[m.Name()][f.Name()]
			switch {
			case f.IsMap() && !name:
				t.Errorf("%s is a map that nobody has judged", f.FullName())
			case f.IsMap():
			case f.Kind() == protoreflect.MessageKind:
				visit(f.Message())
			case f.Kind() == protoreflect.BytesKind && f.FullName() != "ktrdr.v1.FileRequest.sha256":
				t.Errorf("%s has bytes, which nobody redacts", f.FullName())
			case f.Kind() == protoreflect.StringKind && name == free:
				t.Errorf("%s: redacted %v, a name %v; it has to be one of both", f.FullName(), free, name)
			}
		}
	}
	visit((&ktrdrv1.AgentMessage{}).ProtoReflect().Descriptor())
	for m := range redacted {
		if !judged[string(m)] {
			t.Errorf("%s is no message that an agent sends", m)
		}
	}
}

// TestTooLargeStatusIsCut: a status that no message can hold loses the ends of its texts.
func TestTooLargeStatusIsCut(t *testing.T) {
	t.Parallel()
	c := uplinktest.Start(t)
	n := run(t, c, options{})
	c.AwaitConnected(t, true)
	n.change(func() {
		for range 1000 {
			n.status.Conditions = append(n.status.Conditions, api.Condition{Type: api.ConditionDegraded, Message: strings.Repeat("ä", 20_000)})
		}
	})
	c.AwaitStatus(t, "a status that was cut", func(u *ktrdrv1.StatusUpdate) bool {
		list := u.GetStatus().GetConditions()
		return len(list) == 1000 && len(list[0].GetMessage()) <= 2<<10 && strings.HasSuffix(list[0].GetMessage(), "…")
	})
	if n.link.State().Endpoint != c.Addr || c.Counts().Streams != 1 {
		t.Error("the stream was lost")
	}
}

// FuzzMessages gives a running agent whatever bytes are a message, and wants it to go on.
func FuzzMessages(f *testing.F) {
	for _, m := range []*ktrdrv1.ControllerMessage{
		{Kind: &ktrdrv1.ControllerMessage_Welcome{Welcome: &ktrdrv1.Welcome{Endpoints: []string{"x", "a:1"}}}},
		{Kind: &ktrdrv1.ControllerMessage_Slice{Slice: &ktrdrv1.Slice{Revision: "x", Files: []*ktrdrv1.SliceFile{{Path: "../x", Sha256: make([]byte, 32)}}}}},
		{Kind: &ktrdrv1.ControllerMessage_Files{Files: &ktrdrv1.FileBatch{Last: true, Chunks: []*ktrdrv1.FileChunk{{Offset: -1}}}}},
		{Kind: &ktrdrv1.ControllerMessage_StatusAck{StatusAck: &ktrdrv1.StatusAck{Seq: 1 << 63}}},
		{Kind: &ktrdrv1.ControllerMessage_EventAck{EventAck: &ktrdrv1.EventAck{Seq: 1 << 63}}},
		{Kind: &ktrdrv1.ControllerMessage_Command{Command: &ktrdrv1.Command{Id: "x", Kind: &ktrdrv1.Command_Plan{Plan: &ktrdrv1.PlanCommand{Slice: &ktrdrv1.Slice{}}}}}},
		{Kind: &ktrdrv1.ControllerMessage_Command{Command: holdCommand("core", nil)}},
		{Kind: &ktrdrv1.ControllerMessage_Cancel{Cancel: &ktrdrv1.CancelCommand{Id: "x"}}},
		{},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	session := uplink.NewOffline(f, filepath.Join(f.TempDir(), "cache"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m ktrdrv1.ControllerMessage
		if proto.Unmarshal(data, &m) != nil {
			return
		}
		session.Take(t, &m)
	})
}
