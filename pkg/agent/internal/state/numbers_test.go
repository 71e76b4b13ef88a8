package state_test

import "testing"

// TestReserve: no number is given twice, by this agent or the next one, whatever the clock says.
func TestReserve(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ from, want uint64 }{{1000, 1000}, {50, 1010}, {1005, 1020}, {5000, 5000}} {
		s := open(t, dir)
		first, err := s.Reserve(c.from, 10)
		ok(t, err, s.Close())
		if first != c.want {
			t.Errorf("from %d: %d, want %d", c.from, first, c.want)
		}
	}
	s := open(t, dir)
	first, err := s.Reserve(0, 1)
	second, err2 := s.Reserve(0, 1)
	ok(t, err, err2, s.Close())
	if first != 5010 || second != 5011 {
		t.Errorf("%d, then %d", first, second)
	}
}
