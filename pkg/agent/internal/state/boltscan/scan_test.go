package boltscan_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/agent/internal/state/boltscan"
)

const bucket = "b"

// file writes values with bbolt itself, in several transactions and with removals.
func file(t testing.TB, pageSize int, rounds ...map[string][]byte) (data []byte, want map[string][]byte) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "f")
	db, err := bbolt.Open(name, 0o600, &bbolt.Options{PageSize: pageSize, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	want = map[string][]byte{}
	for _, round := range rounds {
		err := db.Update(func(tx *bbolt.Tx) error {
			if other, err := tx.CreateBucketIfNotExists([]byte("another")); err != nil || other.Put([]byte("k"), []byte("not ours")) != nil {
				return errors.New("another bucket")
			}
			b, err := tx.CreateBucketIfNotExists([]byte(bucket))
			for key, value := range round {
				if value == nil {
					err = errors.Join(err, b.Delete([]byte(key)))
					delete(want, key)
					continue
				}
				err = errors.Join(err, b.Put([]byte(key), value))
				want[key] = value
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	data, err = os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data, want
}

// What bbolt wrote is read exactly: inline buckets, branches, overflow pages, all sizes of pages.
func TestReadsWhatBboltWrites(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		pageSize := rapid.SampledFrom([]int{1 << 10, 1 << 12, 1 << 14}).Draw(r, "page size")
		count := rapid.SampledFrom([]int{0, 1, 3, 40, 700}).Draw(r, "count")
		size := rapid.SampledFrom([]int{0, 10, 200, 9000}).Draw(r, "size")
		rounds := make([]map[string][]byte, rapid.IntRange(1, 4).Draw(r, "rounds"))
		for i := range rounds {
			rounds[i] = map[string][]byte{}
			for j := range count {
				value := bytes.Repeat([]byte{byte(i)}, (size+j*i)%20_000)
				if i > 0 && (j+i)%3 == 0 {
					value = nil
				}
				rounds[i][fmt.Sprintf("key-%d", j)] = value
			}
		}
		data, want := file(t, pageSize, rounds...)
		got, err := boltscan.Read(data, bucket)
		if err != nil {
			r.Fatal(err)
		}
		for key := range want {
			if !bytes.Equal(got[key], want[key]) {
				r.Fatalf("%s is wrong", key)
			}
		}
		if len(got) != len(want) {
			r.Fatalf("%d keys, want %d", len(got), len(want))
		}
	})
}

// A header that is broken, as after a power cut in the middle of a commit, leaves the
// state of the other one, and is told.
func TestOneBrokenHeader(t *testing.T) {
	for header := range 2 {
		data, _ := file(t, 4096, map[string][]byte{"a": []byte("1")}, map[string][]byte{"a": []byte("2")})
		data[header*4096+16+40] ^= 1
		got, err := boltscan.Read(data, bucket)
		if !errors.Is(err, boltscan.ErrDamaged) {
			t.Errorf("header %d broken: error %v", header, err)
		}
		if value := string(got["a"]); value != "1" && value != "2" {
			t.Errorf("header %d broken: a is %q", header, value)
		}
	}
}

// Every page that the tree needs is missed when it is gone, a branch that leads to itself ends.
func TestLostPages(t *testing.T) {
	values := map[string][]byte{}
	for i := range 500 {
		values[fmt.Sprintf("key-%03d", i)] = bytes.Repeat([]byte{7}, 100)
	}
	data, want := file(t, 4096, values)
	missed := 0
	for page := 2; page < len(data)/4096; page++ {
		damaged := bytes.Clone(data)
		clear(damaged[page*4096 : (page+1)*4096])
		got, err := boltscan.Read(damaged, bucket)
		switch {
		case err != nil:
			missed++
		case len(got) != len(want):
			t.Errorf("page %d: %d of %d keys and not a word", page, len(got), len(want))
		}
	}
	if missed < 10 {
		t.Errorf("only %d pages were missed", missed)
	}
}

// A page in the place of another one is whole in itself.
func TestPageInTheWrongPlace(t *testing.T) {
	values := map[string][]byte{}
	for i := range 200 {
		values[fmt.Sprintf("key-%03d", i)] = bytes.Repeat([]byte{7}, 100)
	}
	data, _ := file(t, 4096, values)
	var leaves []int
	for page := 2; page < len(data)/4096; page++ {
		if data[page*4096+8] == 2 && data[page*4096+10] > 5 {
			leaves = append(leaves, page*4096)
		}
	}
	if len(leaves) < 2 {
		t.Fatalf("%d leaves", len(leaves))
	}
	copy(data[leaves[1]:leaves[1]+4096], data[leaves[0]:leaves[0]+4096])
	if got, err := boltscan.Read(data, bucket); !errors.Is(err, boltscan.ErrDamaged) {
		t.Errorf("%d keys and not a word: %v", len(got), err)
	}
}

// A header that is a copy of the other one would tell of the state before the last change.
func TestHeaderInTheWrongPlace(t *testing.T) {
	for from, to := range map[int]int{0: 4096, 4096: 0} {
		data, _ := file(t, 4096, map[string][]byte{"key": []byte("value")})
		copy(data[to:to+4096], bytes.Clone(data[from:from+4096]))
		if got, err := boltscan.Read(data, bucket); !errors.Is(err, boltscan.ErrDamaged) {
			t.Errorf("from %d: %d keys and not a word: %v", from, len(got), err)
		}
	}
}

// A branch whose children are all itself has more ways through than there is time.
func TestBranchThatLeadsToItself(t *testing.T) {
	values := map[string][]byte{}
	for i := range 400 {
		values[fmt.Sprintf("key-%03d", i)] = bytes.Repeat([]byte{7}, 100)
	}
	data, _ := file(t, 4096, values)
	branches := 0
	for page := 2; page < len(data)/4096; page++ {
		at := data[page*4096 : (page+1)*4096]
		if at[8] != 1 {
			continue
		}
		branches++
		for i := range int(at[10]) {
			binary.NativeEndian.PutUint64(at[16+16*i+8:], uint64(page))
		}
	}
	if branches == 0 {
		t.Fatal("no branches")
	}
	if _, err := boltscan.Read(data, bucket); !errors.Is(err, boltscan.ErrDamaged) {
		t.Errorf("not a word: %v", err)
	}
}

// Entries that all reach over the whole page must not multiply it.
func TestOverlappingEntries(t *testing.T) {
	values := map[string][]byte{}
	for i := range 30 {
		values[fmt.Sprintf("key-%03d", i)] = bytes.Repeat([]byte{7}, 100)
	}
	data, _ := file(t, 4096, values)
	pages := 0
	for page := 2; page < len(data)/4096; page++ {
		at := data[page*4096 : (page+1)*4096]
		if at[8] != 2 || at[10] != 30 {
			continue
		}
		pages++
		for i := range 30 {
			entry := at[16+16*i:]
			binary.NativeEndian.PutUint32(entry[4:], 0)
			binary.NativeEndian.PutUint32(entry[8:], uint32(100+i))
			binary.NativeEndian.PutUint32(entry[12:], uint32(4096-16-16*i-100-i))
		}
	}
	if pages == 0 {
		t.Fatal("no page of 30 entries")
	}
	got, err := boltscan.Read(data, bucket)
	total := 0
	for key, value := range got {
		total += len(key) + len(value)
	}
	if total > len(data) || !errors.Is(err, boltscan.ErrDamaged) {
		t.Errorf("%d bytes out of %d, %v", total, len(data), err)
	}
}

func TestMissingBucket(t *testing.T) {
	data, _ := file(t, 4096, map[string][]byte{"a": {1}})
	if got, err := boltscan.Read(data, "c"); !errors.Is(err, boltscan.ErrDamaged) || cmp.Diff(got, map[string][]byte{}) != "" {
		t.Errorf("got %v, %v", got, err)
	}
}

func FuzzRead(f *testing.F) {
	values := map[string][]byte{}
	for i := range 60 {
		values[fmt.Sprintf("key-%03d", i)] = bytes.Repeat([]byte{7}, 30*i)
	}
	data, _ := file(f, 1024, values)
	small, _ := file(f, 1024, map[string][]byte{"a": {1}})
	f.Add(data)
	f.Add(small)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		values, err := boltscan.Read(data, bucket)
		total := 0
		for key, value := range values {
			total += len(key) + len(value)
		}
		if total > len(data) || err != nil && !errors.Is(err, boltscan.ErrDamaged) {
			t.Errorf("%d bytes out of %d, %v", total, len(data), err)
		}
	})
}
