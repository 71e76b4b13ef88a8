package uplink

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/pkg/source"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// FreeTexts are the fields that go through the redactor.
func FreeTexts() map[protoreflect.Name]map[protoreflect.Name]bool { return freeTexts() }

// Offline is a session without a stream.
type Offline struct{ s *session }

type nobody struct{}

func (nobody) Status() api.NodeStatus                                      { return api.NodeStatus{} }
func (nobody) Changed() <-chan struct{}                                    { return nil }
func (nobody) Events(uint64, int) []api.Event                              { return nil }
func (nobody) News() <-chan struct{}                                       { return nil }
func (nobody) Sync(context.Context) error                                  { return nil }
func (nobody) Hold(string, *api.Hold) error                                { return nil }
func (nobody) PlanTree(context.Context, string) ([]*plan.Plan, error)      { return nil, nil }
func (nobody) Plans() []*plan.Plan                                         { return nil }
func (nobody) Secrets() api.SecretsStatus                                  { return api.SecretsStatus{} }
func (nobody) Stream(context.Context, LogQuery, func(LogLine)) error       { return nil }
func (nobody) Check(context.Context, DoctorRequest, func(api.Check)) error { return nil }
func (nobody) Bring(context.Context, string, []source.Sum) error           { return nil }

// NewOffline makes one.
func NewOffline(t testing.TB, cacheDir string) *Offline {
	t.Helper()
	src, err := source.NewStream(source.StreamConfig{CacheDir: cacheDir})
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(Config{
		Endpoints: []string{"localhost:1"}, Source: src, Report: nobody{}, Backend: nobody{}, Logs: nobody{}, Doctor: nobody{},
		Redact: func(text string) string { return text },
	})
	if err != nil {
		t.Fatal(err)
	}
	return &Offline{newSession(l, nil, nil)}
}

// Take hands a message on and waits for what it began; what would be sent is prepared.
func (o *Offline) Take(t *testing.T, m *ktrdrv1.ControllerMessage) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	if err := o.s.take(ctx, m); err != nil {
		t.Error(err)
	}
	cancel()
	o.s.commands.end()
	for {
		select {
		case m := <-o.s.urgent:
			if err := prepare(m, o.s.link.cfg.Redact); err != nil {
				t.Error(err)
			}
		case m := <-o.s.output:
			if err := prepare(m, o.s.link.cfg.Redact); err != nil {
				t.Error(err)
			}
		default:
			return
		}
	}
}

// Pause is how long a link waits after so many failures in a row.
func Pause(timing Timing, failures int) time.Duration {
	return (&Link{cfg: Config{Timing: timing}}).pause(failures)
}
