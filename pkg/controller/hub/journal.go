package hub

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// keepEvents is how many events of each node are kept, in memory: agents bring theirs again
// to a controller that lacks them, as far as they still have them.
const keepEvents = 100

// journal keeps the newest events of each node and of the controller, which is the node "".
type journal struct {
	mu      sync.Mutex
	logs    map[string]*eventLog
	seq     uint64
	changed chan struct{}
}

// eventLog is one node's. run and seen are about the agent's own numbers.
type eventLog struct {
	run    string
	seen   uint64
	events []Event
}

// Event is one event with its place among those of all nodes.
type Event struct {
	Node  string
	Event *ktrdrv1.Event
	// Seq grows by one with each event that comes to this controller.
	Seq uint64
}

func newJournal() *journal {
	return &journal{logs: map[string]*eventLog{}, changed: make(chan struct{})}
}

// seen is the newest event of a run of an agent that is kept.
func (j *journal) seen(node, run string) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if log, ok := j.logs[node]; ok && log.run == run {
		return log.seen
	}
	return 0
}

// add keeps events that are new and returns the newest number that is kept.
func (j *journal) add(node, run string, events []*ktrdrv1.Event) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	log := j.log(node)
	if log.run != run {
		log.run, log.seen = run, 0
	}
	for _, e := range events {
		if e.GetSeq() <= log.seen {
			continue
		}
		log.seen = e.GetSeq()
		j.append(node, log, e)
	}
	return log.seen
}

func (j *journal) log(node string) *eventLog {
	log, ok := j.logs[node]
	if !ok {
		log = &eventLog{}
		j.logs[node] = log
	}
	return log
}

func (j *journal) append(node string, log *eventLog, e *ktrdrv1.Event) {
	j.seq++
	log.events = append(log.events, Event{Node: node, Event: e, Seq: j.seq})
	if over := len(log.events) - keepEvents; over > 0 {
		log.events = slices.Delete(log.events, 0, over)
	}
	close(j.changed)
	j.changed = make(chan struct{})
}

// forget drops a node's.
func (j *journal) forget(node string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.logs, node)
}

// since returns events after seq in the order in which they came, and what is closed at the
// next one.
func (j *journal) since(seq uint64) ([]Event, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []Event
	for _, log := range j.logs {
		at, _ := slices.BinarySearchFunc(log.events, seq+1, func(e Event, s uint64) int { return cmp.Compare(e.Seq, s) })
		out = append(out, log.events[at:]...)
	}
	slices.SortFunc(out, func(x, y Event) int { return cmp.Compare(x.Seq, y.Seq) })
	return out, j.changed
}

// Events returns the events of all nodes after seq in the order in which they came, and what
// is closed at the next one.
func (h *Hub) Events(seq uint64) ([]Event, <-chan struct{}) { return h.events.since(seq) }

// epochBits is room for a million events of the controller itself between two starts.
const epochBits = 20

// Tell adds an event of the controller itself.
func (h *Hub) Tell(level, object, reason, message string) {
	h.events.mu.Lock()
	defer h.events.mu.Unlock()
	log := h.events.log("")
	log.seen = max(log.seen, uint64(max(0, h.cfg.Epoch))<<epochBits) + 1 //nolint:gosec // not negative
	h.events.append("", log, &ktrdrv1.Event{
		Seq: log.seen, Time: timestamppb.New(time.Now()), Level: level, Object: object, Reason: reason, Message: message,
	})
}
