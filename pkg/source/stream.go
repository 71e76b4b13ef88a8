package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// StreamConfig configures a Stream.
type StreamConfig struct {
	// CacheDir holds the trees and the contents of files. One source at a time uses it.
	CacheDir string
	// Limits of a tree; MaxTransferBytes is not used.
	Limits Limits
	// Logger, nil for none.
	Logger *slog.Logger
	// Patience is how long a Fetch waits for the first connection after the start. Default 2 s; negative: not at all.
	Patience time.Duration
	// Settle is how long after a connection the offer of an earlier process is not trusted to be the newest, unless the
	// controller confirms it. Default 500 ms; negative: not at all.
	Settle time.Duration
	// Timeout of one Fetch. Default 5 min.
	Timeout time.Duration
}

func (c StreamConfig) withDefaults() StreamConfig {
	c.Limits = c.Limits.withDefaults()
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{{&c.Patience, 2 * time.Second}, {&c.Settle, 500 * time.Millisecond}, {&c.Timeout, 5 * time.Minute}} {
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
	return c
}

// Bringer asks the controller for contents.
type Bringer interface {
	// Bring asks for contents of the offer with the given revision, gives what comes to Stream.Store, and returns when
	// all that the controller sends has come, which may be less than was asked for.
	Bring(ctx context.Context, revision string, sums []Sum) error
}

// bringAttempts is how often what is missing is asked for in one Fetch.
const bringAttempts = 3

// Stream is a source that a controller feeds: whoever holds the connection calls Online, Offer and Store.
type Stream struct {
	cfg      StreamConfig
	trees    *trees
	contents *contents
	started  time.Time
	busy     chan struct{}
	ring     chan struct{}

	mu sync.Mutex
	// offer is the newest, nil before the first; told says that this connection brought or confirmed it.
	offer *Offer
	told  bool
	// refusal says why the newest offer can't become a tree.
	refusal error
	// accepted is in force.
	accepted *Offer
	// plans are the offers that Assemble works on.
	plans   map[*Offer]bool
	online  Bringer
	since   time.Time
	offline error
	// changed is closed at the next change of what stands above.
	changed chan struct{}
}

// NewStream makes a source. It goes on from the state that an earlier process accepted.
func NewStream(cfg StreamConfig) (*Stream, error) {
	if err := cfg.Limits.Validate(); err != nil || cfg.CacheDir == "" {
		return nil, &Error{Reason: ReasonInvalid, Op: "configure stream source", Err: errors.Join(err, required(cfg.CacheDir))}
	}
	cfg = cfg.withDefaults()
	const op = "open stream source"
	var err error
	if cfg.CacheDir, err = filepath.Abs(cfg.CacheDir); err != nil {
		return nil, during(op, err)
	}
	store, err := openTrees(cfg.CacheDir, cfg.Limits)
	if err != nil {
		return nil, during(op, err)
	}
	files, err := openContents(store.path("contents"), store.path("tmp"))
	if err != nil {
		return nil, during(op, err)
	}
	s := &Stream{
		cfg: cfg, trees: store, contents: files, started: time.Now(), busy: make(chan struct{}, 1), ring: make(chan struct{}, 1),
		plans: map[*Offer]bool{}, changed: make(chan struct{}), offline: errors.New("there was no connection yet"),
	}
	s.accepted = s.remembered()
	s.offer = s.accepted
	return s, nil
}

func required(cacheDir string) error {
	if cacheDir == "" {
		return errors.New("cacheDir: required")
	}
	return nil
}

// notify tells all who wait. Called with mu held.
func (s *Stream) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
	select {
	case s.ring <- struct{}{}:
	default:
	}
}

// Online says that a controller is connected, and how contents are asked for.
func (s *Stream) Online(b Bringer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.online, s.since, s.told, s.offline = b, time.Now(), false, nil
	s.notify()
}

// Offline says that no controller is connected, and why.
func (s *Stream) Offline(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.online, s.offline = nil, cause
	s.notify()
}

// Offer replaces the newest revision. An error, which is *Error, says that it can't become a tree; Fetch says so too
// until the next offer.
func (s *Stream) Offer(o Offer) error {
	o.Revision.Time = o.Revision.Time.UTC().Round(0)
	err := during("take revision "+o.Revision.ID, o.check(s.cfg.Limits))
	if err == nil {
		// A disk that is full now says so in Fetch, for as long as it is.
		if _, err := s.contents.expect(o.Files); err != nil {
			s.cfg.Logger.Warn("contents can't be stored yet", "revision", o.Revision.ID, "err", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offer, s.told, s.refusal = &o, true, err
	s.notify()
	return err
}

// Absent says why the controller has no desired state for the node, until the next offer. A state from before stays.
func (s *Stream) Absent(reason Reason, message string) {
	if reason != ReasonPending {
		reason = ReasonNotDesired
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.offer == nil {
		s.told, s.refusal = true, fail(reason, "%s", message)
		s.notify()
	}
}

// Store takes a part of a content that Offer or Assemble announced, and ignores any other.
func (s *Stream) Store(p Part) error { return during("keep a content", s.contents.store(p)) }

// InForce returns the revision that was accepted last, by this process or one before, when its tree is on disk.
func (s *Stream) InForce() (Revision, bool) {
	s.mu.Lock()
	o := s.accepted
	s.mu.Unlock()
	if o == nil {
		return Revision{}, false
	}
	_, ok := s.trees.peek(o.tree())
	return o.Revision, ok
}

// Accept notes that a revision that Fetch returned is in force, also for later processes.
func (s *Stream) Accept(rev Revision) error {
	s.mu.Lock()
	o := s.offer
	if o == nil || o.Revision != rev || s.accepted != nil && s.accepted.Revision == rev {
		s.mu.Unlock()
		return nil
	}
	s.accepted = o
	s.mu.Unlock()
	return during("remember revision "+rev.ID, s.remember(o))
}

// Fetch returns the tree of the newest offer. It asks the controller for the contents that are missing here.
func (s *Stream) Fetch(ctx context.Context, _ string) (Tree, error) {
	const op = "get the desired state from the controller"
	limited, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	case <-limited.Done():
	}
	for {
		tree, o, err := s.fetch(limited)
		switch {
		case err == nil:
			return tree, nil
		case ctx.Err() != nil:
			return Tree{}, &Error{Reason: ReasonCanceled, Op: op, Err: ctx.Err()}
		case limited.Err() != nil:
			return Tree{}, &Error{Reason: ReasonUnreachable, Op: op, Err: fmt.Errorf("no complete answer in time: %w", limited.Err())}
		case o == nil || o == s.newest():
			return Tree{}, during(op, err)
		}
	}
}

func (s *Stream) newest() *Offer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offer
}

// fetch also returns the offer that it worked on, nil when there was none.
func (s *Stream) fetch(ctx context.Context) (Tree, *Offer, error) {
	o, from, err := s.await(ctx)
	if err != nil {
		return Tree{}, o, err
	}
	name := o.tree()
	if tree, ok := s.trees.get(name); ok && tree.Revision == o.Revision {
		return tree, o, nil
	}
	tree, err := s.assemble(ctx, assembly{offer: o, from: from, write: func(fill func(*manifest) (Revision, error)) (Tree, error) {
		return s.trees.build(name, fill)
	}})
	return tree, o, err
}

// await returns the newest offer and who brings contents, or says why there are none.
func (s *Stream) await(ctx context.Context) (*Offer, Bringer, error) {
	for {
		s.mu.Lock()
		o, from, changed, err, wait := s.offer, s.online, s.changed, s.refusal, time.Duration(0)
		switch {
		case from == nil:
			wait = time.Until(s.started.Add(s.cfg.Patience))
			o, err = nil, fail(ReasonUnreachable, "no controller is connected: %w", s.offline)
		case !s.told:
			wait = time.Until(s.since.Add(s.cfg.Settle))
		}
		s.mu.Unlock()
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		if wait <= 0 {
			if o == nil && err == nil {
				err = fail(ReasonNotDesired, "the controller has no desired state for this node: add its nodes/NODE.yaml to the fleet's repository and push")
			}
			return o, from, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Cached implements Source.
func (s *Stream) Cached(id string) (Tree, bool) {
	if !offerID.MatchString(id) {
		return Tree{}, false
	}
	s.mu.Lock()
	o := s.accepted
	s.mu.Unlock()
	if o != nil && o.Revision.ID == id {
		if tree, ok := s.trees.peek(o.tree()); ok {
			return tree, true
		}
	}
	for _, name := range s.treesOf(id) {
		if tree, ok := s.trees.peek(name); ok && tree.Revision.ID == id {
			return tree, true
		}
	}
	return Tree{}, false
}

// treesOf lists the names of the trees of a commit.
func (s *Stream) treesOf(ids ...string) []string {
	list, err := os.ReadDir(s.trees.path("records"))
	if err != nil {
		return nil
	}
	var names []string
	for _, d := range list {
		name := strings.TrimSuffix(d.Name(), ".json")
		if id, _, _ := strings.Cut(name, "-"); slices.Contains(ids, id) {
			names = append(names, name)
		}
	}
	return names
}

// Prune implements Source. It drops contents that no offer needs any more too.
func (s *Stream) Prune(keep ...string) error {
	return during("remove old trees of the controller", errors.Join(s.trees.prune(s.treesOf(keep...)), s.tidy()))
}

// Changes implements Source.
func (s *Stream) Changes() <-chan struct{} { return s.ring }

// Close implements Source. It waits for a Fetch that is under way.
func (s *Stream) Close() error {
	s.busy <- struct{}{}
	<-s.busy
	return nil
}
