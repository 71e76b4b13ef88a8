package squeeze_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/controller/internal/squeeze"
)

func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		raw := bytes.Repeat(rapid.SliceOf(rapid.Byte()).Draw(t, "raw"), rapid.IntRange(0, 3).Draw(t, "times"))
		packed, err := squeeze.Deflate(raw)
		if err != nil {
			t.Fatal(err)
		}
		got, err := squeeze.Inflate(packed, len(raw))
		if err != nil || !bytes.Equal(got, raw) {
			t.Fatalf("%x, %v of %x", got, err, raw)
		}
		if _, err := squeeze.Inflate(packed, len(raw)+1); err == nil {
			t.Fatal("more than there was")
		}
	})
}
