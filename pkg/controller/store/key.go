package store

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// maxKey bounds the variable part of a key: names, ids, serial numbers.
const maxKey = 200

// checkKey refuses keys that could leave their table or that can't be read in a listing.
func checkKey(key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("%w: key of %d characters: 1 to %d are allowed", ErrInvalid, len(key), maxKey)
	}
	for _, r := range key {
		if r <= ' ' || r > '~' || strings.ContainsRune(`/\"'`, r) {
			return fmt.Errorf("%w: key %q: letters, digits and punctuation without slashes and quotes are allowed", ErrInvalid, key)
		}
	}
	return nil
}

// descending is a key that sorts the larger number first, so that the newest records are
// the first of a range, which etcd reads without looking at the others.
func descending(n int64) string { return fmt.Sprintf("%016x", math.MaxInt64-max(n, 0)) }

func descendingTime(at time.Time) string { return descending(at.UnixNano()) }

// rangeEnd is the key after all that begin with prefix.
func rangeEnd(prefix string) string {
	end := []byte(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] < math.MaxUint8 {
			end[i]++
			return string(end[:i+1])
		}
	}
	return "\x00"
}
