package squeeze

import (
	"bytes"
	"compress/flate"
	"io"
	"sync"
)

// level of compression: more of it makes no status smaller that has 20 services.
const level = 5

// A writer takes a megabyte and a reader 40 kB; they are used by one content after the other.
//
//nolint:gochecknoglobals // pools are
var (
	deflaters = sync.Pool{New: func() any { w, _ := flate.NewWriter(nil, level); return w }}
	inflaters = sync.Pool{New: func() any { return flate.NewReader(nil) }}
)

// Deflate compresses.
func Deflate(raw []byte) ([]byte, error) {
	w, _ := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	var out bytes.Buffer
	w.Reset(&out)
	if _, err := w.Write(raw); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return bytes.Clone(out.Bytes()), nil // no larger than it has to be
}

// Inflate is what was compressed, of size bytes. What has fewer is an error.
func Inflate(packed []byte, size int) ([]byte, error) {
	r := inflaters.Get()
	defer inflaters.Put(r)
	if err := r.(flate.Resetter).Reset(bytes.NewReader(packed), nil); err != nil { //nolint:forcetypeassert // documented
		return nil, err
	}
	raw := make([]byte, size)
	if _, err := io.ReadFull(r.(io.Reader), raw); err != nil { //nolint:forcetypeassert // as above
		return nil, err
	}
	return raw, nil
}
