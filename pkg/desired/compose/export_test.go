package compose

// Bounds of a Loader, for its tests.
const (
	MaxAnswers    = maxAnswers
	MaxRemembered = maxRemembered
)

// Size returns what a Loader counts, what it holds, and the most results of one request.
func (l *Loader) Size() (counted, held, most int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, known := range l.known {
		held++
		for _, r := range known.results {
			held += r.size()
		}
		most = max(most, len(known.results))
	}
	return l.size, held, most
}
