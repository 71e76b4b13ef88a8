package wire

import (
	"bytes"
	"errors"
	"net"
	"testing"
)

// writes keeps what is written, until limit writes were made.
type writes struct {
	net.Conn
	sizes []int
	all   bytes.Buffer
	limit int
}

func (w *writes) Write(p []byte) (int, error) {
	if len(w.sizes) == w.limit {
		return 0, errors.New("the peer is gone")
	}
	w.sizes = append(w.sizes, len(p))
	return w.all.Write(p)
}

// TestSmallRecords: all is sent in its order, in pieces that are small enough.
func TestSmallRecords(t *testing.T) {
	for _, size := range []int{0, 1, recordSize, recordSize + 1, 10*recordSize + 7} {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(i % 251)
		}
		w := &writes{limit: 100}
		n, err := smallRecords{w}.Write(data)
		if n != size || err != nil || !bytes.Equal(w.all.Bytes(), data) {
			t.Errorf("%d bytes: %d written, %v", size, n, err)
		}
		for _, s := range w.sizes {
			if s > recordSize {
				t.Errorf("%d bytes: a record of %d", size, s)
			}
		}
		if want := max(1, (size+recordSize-1)/recordSize); len(w.sizes) != want {
			t.Errorf("%d bytes: %d records, want %d", size, len(w.sizes), want)
		}
	}
	w := &writes{limit: 2}
	if n, err := (smallRecords{w}).Write(make([]byte, 5*recordSize)); n != 2*recordSize || err == nil {
		t.Errorf("a peer that goes: %d written, %v", n, err)
	}
}
