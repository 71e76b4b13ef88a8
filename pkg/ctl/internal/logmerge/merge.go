package logmerge

import (
	"container/heap"
	"time"
)

// Line is one line of a container's log.
type Line struct {
	Node, Stack, Service, Container string
	// Time is by the node's engine.
	Time   time.Time
	Stderr bool
	Text   string
}

// size is about what a line takes in memory, in bytes.
func (l *Line) size() int { return len(l.Text) + 200 }

// Merger holds lines back for a while, so that later ones of slower nodes can go before
// them. Lines of one output of one container keep their order.
type Merger struct {
	// Window is how long a line waits for earlier ones; 0 or less waits for Drain.
	Window time.Duration
	// Limit is how much is held, in bytes; beyond it the earliest lines go first.
	Limit int

	waiting queue
	held    int
	count   uint64
	outputs map[output]*mark
	newest  map[string]time.Time
}

// output is what has lines in one order: an engine may stamp both outputs of a container
// in another order than it keeps them.
type output struct {
	node, container string
	stderr          bool
}

// mark is how far an output was read.
type mark struct {
	last time.Time
	// same counts the lines with that very time.
	same int
	// repeated is set while what was read already may come again; skip counts the lines of
	// the last time that may.
	repeated bool
	skip     int
}

// Add takes a line that arrived now.
func (m *Merger) Add(now time.Time, l Line) {
	if m.isRepeated(&l) {
		return
	}
	if m.newest == nil {
		m.newest = map[string]time.Time{}
	}
	if l.Time.After(m.newest[l.Node]) {
		m.newest[l.Node] = l.Time
	}
	m.count++
	m.held += l.size()
	heap.Push(&m.waiting, entry{line: l, arrived: now, number: m.count})
}

// isRepeated tells whether a line was there before, and marks how far its output was read.
func (m *Merger) isRepeated(l *Line) bool {
	if m.outputs == nil {
		m.outputs = map[output]*mark{}
	}
	key := output{l.Node, l.Container, l.Stderr}
	at := m.outputs[key]
	if at == nil {
		at = &mark{}
		m.outputs[key] = at
	}
	if at.repeated {
		switch {
		case l.Time.Before(at.last):
			return true
		case l.Time.Equal(at.last) && at.skip > 0:
			at.skip--
			return true
		}
		at.repeated = false
	}
	if l.Time.Equal(at.last) {
		at.same++
	} else {
		at.last, at.same = l.Time, 1
	}
	return false
}

// Resume says that a node begins again: lines that it sent before may come once more. Of
// node "" all nodes do.
func (m *Merger) Resume(node string) {
	for key, at := range m.outputs {
		if node == "" || key.node == node {
			at.repeated, at.skip = true, at.same
		}
	}
}

// Newest is the time of the newest line of a node; zero when there was none.
func (m *Merger) Newest(node string) time.Time { return m.newest[node] }

// Oldest is the earliest of all nodes' newest lines; zero when there was no line.
func (m *Merger) Oldest() time.Time {
	var oldest time.Time
	for _, t := range m.newest {
		if oldest.IsZero() || t.Before(oldest) {
			oldest = t
		}
	}
	return oldest
}

// Ready returns the lines that have waited long enough, by their time.
func (m *Merger) Ready(now time.Time) []Line {
	var lines []Line
	for len(m.waiting) > 0 {
		waited := m.Window > 0 && now.Sub(m.waiting[0].arrived) >= m.Window
		if !waited && m.held <= m.Limit {
			break
		}
		lines = append(lines, m.pop())
	}
	return lines
}

// Drain returns all lines that are left, by their time.
func (m *Merger) Drain() []Line {
	var lines []Line
	for len(m.waiting) > 0 {
		lines = append(lines, m.pop())
	}
	return lines
}

func (m *Merger) pop() Line {
	e := heap.Pop(&m.waiting).(entry) //nolint:errcheck,forcetypeassert // the queue holds nothing else
	m.held -= e.line.size()
	return e.line
}

type entry struct {
	line    Line
	arrived time.Time
	number  uint64
}

// queue implements heap.Interface: the earliest first, of one time in the order of arrival.
type queue []entry

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	if !q[i].line.Time.Equal(q[j].line.Time) {
		return q[i].line.Time.Before(q[j].line.Time)
	}
	return q[i].number < q[j].number
}

func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

func (q *queue) Push(x any) { *q = append(*q, x.(entry)) } //nolint:errcheck,forcetypeassert // only Add calls it

func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = entry{}
	*q = old[:len(old)-1]
	return last
}
