package uplink

import (
	"bytes"
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

const (
	// standardInterval is the least time between two statuses when the controller names none.
	standardInterval = 200 * time.Millisecond
	maxInterval      = time.Minute
	// refreshEvery is how often the status is looked at without a change: some of it
	// changes by time alone.
	refreshEvery = time.Minute
	// maxBatch is the number of events in one message.
	maxBatch = 200
)

func statusInterval(w *ktrdrv1.Welcome) time.Duration {
	d := w.GetStatusInterval().AsDuration()
	if w.GetStatusInterval() == nil || d < 0 {
		return standardInterval
	}
	return min(d, maxInterval)
}

// tellStatus sends the newest status whenever it changed: one at a time, no sooner than
// the controller wants, and again on the next stream when it was not acknowledged here.
func (s *session) tellStatus(ctx context.Context) error {
	var sent []byte
	for seq := uint64(1); ; {
		changed := s.link.cfg.Report.Changed()
		update := s.status(seq)
		if content := contentOf(update); !bytes.Equal(content, sent) {
			began := time.Now()
			if err := s.tell(ctx, &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Status{Status: update}}, s.statusAcks, seq); err != nil {
				return err
			}
			sent = content
			seq++
			if err := sleep(ctx, s.interval-time.Since(began)); err != nil {
				return err
			}
		}
		timer := time.NewTimer(refreshEvery)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-s.moved:
		case <-timer.C:
		}
		timer.Stop()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// tell sends a message and waits until its number, or a higher one, is acknowledged.
func (s *session) tell(ctx context.Context, m *ktrdrv1.AgentMessage, acks <-chan uint64, seq uint64) error {
	if err := s.send(ctx, m); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case got := <-acks:
			if got >= seq {
				return nil
			}
		}
	}
}

// acknowledge keeps the highest number that was not taken yet.
func acknowledge(acks chan uint64, seq uint64) {
	for {
		select {
		case acks <- seq:
			return
		case before := <-acks:
			seq = max(seq, before)
		}
	}
}

func (s *session) status(seq uint64) *ktrdrv1.StatusUpdate {
	st := s.link.cfg.Report.Status()
	return &ktrdrv1.StatusUpdate{Seq: seq, Status: wire.NodeStatusToProto(st), SliceDigest: s.link.digestOf(st.Revision)}
}

// contentOf is what makes a status worth sending: all but its number and its time.
func contentOf(update *ktrdrv1.StatusUpdate) []byte {
	seq, at := update.GetSeq(), update.GetStatus().GetTime()
	update.Seq, update.Status.Time = 0, nil
	content, err := proto.MarshalOptions{Deterministic: true}.Marshal(update)
	update.Seq, update.Status.Time = seq, at
	if err != nil {
		return []byte(err.Error()) // never: all texts are valid UTF-8, see pkg/wire
	}
	return content
}

const (
	// maxKept is how many events an agent keeps.
	maxKept = 1000
	// maxAgain is how many of them a controller that has none of this run is sent, as many as it
	// keeps itself.
	maxAgain = 100
)

// skipOld leaves out what a controller that knows of nothing would not keep.
func (s *session) skipOld() {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	if s.link.kept > 0 {
		return
	}
	all := s.link.cfg.Report.Events(0, maxKept)
	if over := len(all) - maxAgain; over > 0 {
		s.link.kept = all[over-1].Seq
	}
}

// tellEvents sends events in order, the next ones when those before are acknowledged.
func (s *session) tellEvents(ctx context.Context) error {
	s.skipOld()
	for {
		news := s.link.cfg.Report.News()
		s.link.mu.Lock()
		after := s.link.kept
		s.link.mu.Unlock()
		list := s.link.cfg.Report.Events(after, maxBatch)
		if len(list) == 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-news:
			}
			continue
		}
		batch := &ktrdrv1.EventBatch{}
		for i := range list {
			batch.Events = append(batch.Events, wire.EventToProto(list[i]))
		}
		last := list[len(list)-1].Seq
		if err := s.tell(ctx, &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_Events{Events: batch}}, s.eventAcks, last); err != nil {
			return err
		}
		s.link.mu.Lock()
		s.link.kept = last // also when a controller claimed to have seen what never was
		s.link.mu.Unlock()
	}
}

// tellVerdicts says what became of slices.
func (s *session) tellVerdicts(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.judged:
		}
		s.link.mu.Lock()
		v := s.link.verdict
		s.link.mu.Unlock()
		s.mu.Lock()
		news := s.told != v
		s.told = v
		s.mu.Unlock()
		if !news {
			continue
		}
		if err := s.send(ctx, result(v)); err != nil {
			return err
		}
	}
}

func result(v verdict) *ktrdrv1.AgentMessage {
	return &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_SliceResult{SliceResult: &ktrdrv1.SliceResult{
		Digest: v.revision.Digest, Revision: v.revision.ID, Accepted: v.accepted,
		Reason: clean(v.reason, maxName), Message: v.message,
	}}}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
	return ctx.Err()
}
