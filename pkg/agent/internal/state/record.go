package state

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/agent/internal/state/boltscan"
)

// Everything lies in one bucket as "<section>/<key>": a checksum over name and content
// (bbolt has none for pages), then the content. One more entry holds the checksum of all
// checksums, because a damaged page may lose an entry without a trace.
const (
	bucketName = "ktrdr-v1"
	totalName  = "total"
)

// entry names one piece of state.
type entry struct{ section, key string }

func (e entry) name() string { return e.section + "/" + e.key }

func parseEntry(name string) (entry, bool) {
	section, key, found := strings.Cut(name, "/")
	return entry{section, key}, found && key != ""
}

type checksum [sha256.Size]byte

func sumOf(name string, content []byte) checksum {
	hash := sha256.New()
	hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(name))))
	hash.Write([]byte(name))
	hash.Write(content)
	return checksum(hash.Sum(nil))
}

// records are what the disk has or shall have, by name.
type records map[string]record

type record struct {
	content []byte
	sum     checksum
}

func newRecord(name string, content []byte) record {
	return record{content: content, sum: sumOf(name, content)}
}

func (r record) stored() []byte { return append(r.sum[:len(r.sum):len(r.sum)], r.content...) }

func (r records) total() []byte {
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(r)) {
		sum := r[name].sum
		hash.Write(sum[:])
	}
	return hash.Sum(nil)
}

// readRecords returns every record of a file that is what was written. The error tells
// what is wrong with the rest; without one the records are complete.
func readRecords(data []byte) (records, error) {
	values, err := boltscan.Read(data, bucketName)
	total := values[totalName]
	delete(values, totalName)
	found, broken := records{}, 0
	for name, stored := range values {
		var r record
		if len(stored) >= len(r.sum) {
			r = newRecord(name, stored[len(r.sum):])
		}
		if len(stored) < len(r.sum) || checksum(stored[:len(r.sum)]) != r.sum {
			broken++
			continue
		}
		found[name] = r
	}
	switch {
	case err != nil:
		return found, fmt.Errorf("%w: %w", ErrDamaged, err)
	case broken > 0:
		return found, fmt.Errorf("%w: %d of %d entries have a wrong checksum", ErrDamaged, broken, len(values))
	case string(total) != string(found.total()):
		return found, fmt.Errorf("%w: entries are missing", ErrDamaged)
	}
	return found, nil
}
