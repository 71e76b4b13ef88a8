package fleet

import (
	"context"
	"errors"
	"reflect"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/rollout"
	"ktrdr.io/fleet/pkg/controller/store"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

func sameProgress(a, b *rollout.Record) bool { return reflect.DeepEqual(a.Waves, b.Waves) }

func (v *view) targetsDiffer(last *view) bool {
	return v.Newest.Number != last.Newest.Number || !reflect.DeepEqual(v.Newest.Record.Targets, last.Newest.Record.Targets)
}

// WatchRollout tells how the rollout of a revision goes, until it has ended.
func (s *Service) WatchRollout(r *ktrdrv1.WatchRolloutRequest, out grpc.ServerStreamingServer[ktrdrv1.Rollout]) error {
	revision := r.GetRevision()
	if revision == "" {
		if revision = s.cfg.Ledger.Head().Revision; revision == "" {
			return status.Error(codes.NotFound, "nothing was rolled out yet")
		}
	}
	known, err := s.isKnown(out.Context(), revision)
	if err != nil {
		return s.failed(out.Context(), "watch the rollout", err)
	}
	if !known {
		return status.Errorf(codes.NotFound, "there is no rollout of revision %.80q", revision)
	}
	return s.cfg.Ledger.Follow(out.Context(), revision, func(record *rollout.Record) error { return out.Send(rolloutToProto(record)) })
}

// isKnown tells whether a revision is the head or was rolled out. Another controller may have
// accepted it a moment ago, so the store is asked before it is said to be unknown.
func (s *Service) isKnown(ctx context.Context, revision string) (bool, error) {
	ledger := s.cfg.Ledger
	if _, ok := ledger.Outcome(revision); ok || ledger.Head().Revision == revision {
		return true, nil
	}
	head, err := s.cfg.Store.Head(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	ledger.setHead(head)
	return head.Revision == revision, nil
}

// Follow gives the record of a revision's newest rollout, and again whenever it changed, until it
// has ended. A revision whose rollout has not begun is waited for, as long as it is the head.
func (l *Ledger) Follow(ctx context.Context, revision string, each func(*rollout.Record) error) error {
	var last *rollout.Record
	for {
		changed := l.Changed()
		if e, ok := l.Of(revision); ok && (last == nil || !same(last, &e.Record)) {
			record := e.Record
			last = &record
			if err := each(last); err != nil {
				return err
			}
		}
		if last != nil && last.Phase != rollout.Running {
			return nil
		}
		if head := l.Head(); last == nil && head.Revision != revision {
			return status.Errorf(codes.Aborted, "revision %.80q was replaced by %s before its rollout began", revision, head.Revision)
		}
		pause(ctx, watchRest)
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-changed:
		}
	}
}

func same(a, b *rollout.Record) bool { return a.Phase == b.Phase && sameProgress(a, b) }
