package uplink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/desired"
	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// Limits of what a slice says.
const (
	// maxText is for texts that people wrote, in bytes; more is cut.
	maxText = 1024
	// maxName is for names, in bytes.
	maxName = 256
	// maxPart is the content of one part of a file, in bytes.
	maxPart = 1 << 20
)

// errInvalidSlice marks what no agent can accept.
var errInvalidSlice = errors.New("the controller sent an impossible slice")

// offerOf checks a slice and makes an offer of it. The digest is computed again.
func offerOf(m *ktrdrv1.Slice) (source.Offer, error) {
	o := source.Offer{Revision: source.Revision{
		ID: m.GetRevision(), Digest: m.GetDigest(), Branch: clean(m.GetBranch(), maxText), Author: clean(m.GetAuthor(), maxText),
		Subject: clean(m.GetSubject(), maxText), Signer: clean(m.GetSigner(), maxText), Time: wire.Time(m.GetTime()),
	}}
	if len(m.GetFiles()) > desired.MaxSliceFiles {
		return o, fmt.Errorf("%w: %d files are more than %d", errInvalidSlice, len(m.GetFiles()), desired.MaxSliceFiles)
	}
	files := make([]desired.File, 0, len(m.GetFiles()))
	for _, f := range m.GetFiles() {
		sum, err := sumOf(f.GetSha256())
		if err != nil {
			return o, fmt.Errorf("%w: %.80q: %w", errInvalidSlice, f.GetPath(), err)
		}
		if f.GetMode() != 0o644 && f.GetMode() != 0o755 {
			return o, fmt.Errorf("%w: %.80q: mode %#o", errInvalidSlice, f.GetPath(), f.GetMode())
		}
		mode := fs.FileMode(f.GetMode())
		o.Files = append(o.Files, source.OfferFile{Path: f.GetPath(), Mode: mode, Size: f.GetSize(), Sum: sum})
		files = append(files, desired.File{Path: f.GetPath(), Mode: mode, Size: f.GetSize(), SHA256: sum.String()})
	}
	if digest := desired.SliceDigest(files); digest != m.GetDigest() {
		return o, fmt.Errorf("%w: its files have the digest %s, not %.80q", errInvalidSlice, digest, m.GetDigest())
	}
	return o, nil
}

// sumOf wants 32 bytes.
func sumOf(raw []byte) (source.Sum, error) {
	if len(raw) != len(source.Sum{}) {
		return source.Sum{}, fmt.Errorf("a SHA-256 has %d bytes, not %d", len(source.Sum{}), len(raw))
	}
	return source.Sum(raw), nil
}

// slice hands a new state to the source. What can't be one is refused at once.
func (s *session) slice(ctx context.Context, m *ktrdrv1.Slice) error {
	s.mu.Lock()
	s.told = verdict{} // the controller wants to hear about this one, also when it is known
	s.mu.Unlock()
	o, err := offerOf(m)
	if err == nil {
		err = s.link.cfg.Source.Offer(o)
	}
	if err != nil {
		s.link.cfg.Log.WarnContext(ctx, "slice refused", "revision", clean(m.GetRevision(), maxName), "err", err)
		reason := string(api.ReasonInvalid)
		if r := source.ReasonOf(err); r != "" && r != source.ReasonInvalid {
			reason = string(r)
		}
		return s.send(ctx, result(verdict{
			revision: source.Revision{ID: clean(m.GetRevision(), maxName), Digest: clean(m.GetDigest(), maxName)}, reason: reason, message: err.Error(),
		}))
	}
	s.keep(ctx, m.GetContents())
	return nil
}

// keep stores parts. One that can't be stored is asked for again later, and then somebody
// hears of it.
func (s *session) keep(ctx context.Context, parts []*ktrdrv1.FileChunk) {
	for _, p := range parts {
		sum, err := sumOf(p.GetSha256())
		if err != nil || p.GetOffset() < 0 || len(p.GetContent()) > maxPart {
			s.link.cfg.Log.WarnContext(ctx, "the controller sent an impossible part of a file", "offset", p.GetOffset(), "size", len(p.GetContent()))
			continue
		}
		if err := s.link.cfg.Source.Store(source.Part{Sum: sum, Offset: p.GetOffset(), Content: p.GetContent()}); err != nil {
			s.answers.fail(err)
		}
	}
}

// answers pairs what comes with the one request that is under way.
type answers struct {
	// busy is held by who asks.
	busy chan struct{}
	// heard rings when something came.
	heard chan struct{}

	mu   sync.Mutex
	done chan struct{} // nil while nobody asked
	err  error
}

func newAnswers() *answers {
	return &answers{busy: make(chan struct{}, 1), heard: make(chan struct{}, 1)}
}

func (a *answers) fail(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = errors.Join(a.err, err)
}

// begin returns a channel that is closed when the answer is complete.
func (a *answers) begin() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err, a.done = nil, make(chan struct{})
	return a.done
}

func (a *answers) end() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done = nil
	return a.err
}

func (s *session) files(ctx context.Context, m *ktrdrv1.FileBatch) {
	s.keep(ctx, m.GetChunks())
	ring(s.answers.heard)
	s.answers.mu.Lock()
	defer s.answers.mu.Unlock()
	if m.GetLast() && s.answers.done != nil {
		close(s.answers.done)
		s.answers.done = nil
	}
}

// bringer asks over a session.
type bringer struct{ s *session }

// Bring implements source.Bringer. One request is under way at a time.
func (b bringer) Bring(ctx context.Context, revision string, sums []source.Sum) error {
	a, wait := b.s.answers, b.s.link.cfg.Timing.Answer
	unreachable := func(err error) error {
		return &source.Error{Reason: source.ReasonUnreachable, Op: "ask the controller for files", Err: err}
	}
	select {
	case a.busy <- struct{}{}:
		defer func() { <-a.busy }()
	case <-ctx.Done():
		return ctx.Err()
	case <-b.s.ended:
		return unreachable(errEnded)
	}
	done := a.begin()
	defer func() { _ = a.end() }()
	request := &ktrdrv1.FileRequest{Revision: revision}
	for _, sum := range sums {
		request.Sha256 = append(request.Sha256, sum[:])
	}
	if err := b.s.send(ctx, &ktrdrv1.AgentMessage{Kind: &ktrdrv1.AgentMessage_FileRequest{FileRequest: request}}); err != nil {
		return unreachable(err)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-b.s.ended:
			return unreachable(errEnded)
		case <-timer.C:
			return unreachable(fmt.Errorf("nothing came for %s", wait))
		case <-a.heard:
			timer.Reset(wait)
		case <-done:
			return a.end()
		}
	}
}
