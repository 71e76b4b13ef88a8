package state_test

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/agent/internal/state"
	"ktrdr.io/fleet/pkg/api"
)

// sample returns a state file that has seen many writes, the copy of the key beside it,
// and what is in it.
func sample(t testing.TB) (file, key []byte, want content) {
	t.Helper()
	dir := t.TempDir()
	s := open(t, dir)
	fill(t, s)
	for i := range 60 {
		ok(t, s.SetLastGood(&api.Desired{Revision: "r", Node: bulk(i)}), s.SetAdoption(bulk(i%7), state.Adoption{SpecHash: "v1:x"}))
	}
	want = read(t, s)
	ok(t, s.Close())
	file, err := os.ReadFile(filepath.Join(dir, "state.db"))
	ok(t, err)
	key, err = os.ReadFile(filepath.Join(dir, "node.key"))
	ok(t, err)
	return file, key, want
}

// reopen opens a folder with these files; it must succeed whatever they hold.
func reopen(t testing.TB, file, key []byte) (got content, healed, dir string) {
	t.Helper()
	dir = t.TempDir()
	if file != nil {
		ok(t, os.WriteFile(filepath.Join(dir, "state.db"), file, 0o600))
	}
	if key != nil {
		ok(t, os.WriteFile(filepath.Join(dir, "node.key"), key, 0o600))
	}
	s := open(t, dir)
	got = read(t, s)
	healed = s.Healed()
	ok(t, s.SetJob("writable", "yes"), s.Close())
	again := open(t, dir)
	if told := again.Healed(); told != "" || again.Jobs()["writable"] != "yes" {
		t.Fatalf("not mended: healed again (%s), jobs %v", told, again.Jobs())
	}
	ok(t, again.Close())
	return got, healed, dir
}

func subset[V any](t testing.TB, what string, got, want map[string]V) {
	t.Helper()
	for key, value := range got {
		if diff := cmp.Diff(want[key], value); diff != "" {
			t.Errorf("%s %s is wrong:\n%s", what, key, diff)
		}
	}
}

// Whatever happens to the file: either everything is right, or Healed tells and what is
// there is right. Adoption of a wrong hash would keep a wrong container for ever.
func TestDamageIsNeverBelieved(t *testing.T) {
	file, key, want := sample(t)
	rapid.Check(t, func(r *rapid.T) {
		neverBelieved(t, r, damaged{file: damage(r, file), key: key, want: want})
	})
	// The check sees both outcomes, whatever was drawn.
	if neverBelieved(t, t, damaged{file: file, key: key, want: want}) {
		t.Error("an intact file is thrown away")
	}
	if !neverBelieved(t, t, damaged{file: file[:len(file)/2], key: key, want: want}) {
		t.Error("half a file is taken for a whole one")
	}
}

// damaged is a file with what it held before.
type damaged struct {
	file, key []byte
	want      content
}

// neverBelieved opens a file and checks that what it says is true or gone. It tells whether
// the file was set aside.
func neverBelieved(t *testing.T, r rapid.TB, d damaged) bool {
	t.Helper()
	got, healed, dir := reopen(t, d.file, d.key)
	if diff := cmp.Diff(d.want, got); healed == "" && diff != "" {
		r.Fatalf("wrong content and not a word:\n%s", diff)
	}
	aside, _ := filepath.Glob(filepath.Join(dir, "state.db.corrupt-*"))
	if (healed != "") != (len(aside) == 1) {
		r.Fatalf("healed %q with %d files set aside", healed, len(aside))
	}
	if healed == "" {
		return false
	}
	if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, d.file) {
		r.Fatalf("the file set aside is not the damaged one: %v", err)
	}
	if !bytes.Equal(got.NodeKey, d.want.NodeKey) {
		r.Fatal("the node's key changed although its second copy is intact")
	}
	subset(t, "adoption", got.Adoptions, d.want.Adoptions)
	subset(t, "job", got.Jobs, d.want.Jobs)
	subset(t, "hold", got.Holds, d.want.Holds)
	subset(t, "hook", got.Hooks, d.want.Hooks)
	return true
}

func damage(r *rapid.T, file []byte) []byte {
	damaged := bytes.Clone(file)
	for range rapid.IntRange(1, 3).Draw(r, "hits") {
		if len(damaged) == 0 {
			break
		}
		at := rapid.IntRange(0, len(damaged)-1).Draw(r, "at")
		switch rapid.IntRange(0, 4).Draw(r, "kind") {
		case 0:
			damaged = damaged[:at]
		case 1: // a lost page
			clear(damaged[at&^4095 : min(len(damaged), at&^4095+4096)])
		case 2: // a page in the wrong place
			from := rapid.IntRange(0, (len(damaged)-1)/4096).Draw(r, "from") * 4096
			copy(damaged[at&^4095:], bytes.Clone(damaged[from:min(len(damaged), from+4096)]))
		case 3: // headers of pages, where every byte counts
			at = at&^4095 + rapid.IntRange(0, 200).Draw(r, "offset")
			if at < len(damaged) {
				damaged[at] ^= 1 << rapid.IntRange(0, 7).Draw(r, "bit")
			}
		default:
			damaged[at] ^= 1 << rapid.IntRange(0, 7).Draw(r, "bit")
		}
	}
	return damaged
}

// A changed value is not taken over, and what is beside it is.
func TestChangedValue(t *testing.T) {
	file, key, want := sample(t)
	damaged := bytes.ReplaceAll(file, []byte(`"specHash":"v1:5"`), []byte(`"specHash":"v1:6"`))
	if bytes.Equal(damaged, file) {
		t.Fatal("the value is not in the file")
	}
	got, healed, _ := reopen(t, damaged, key)
	if healed == "" {
		t.Error("not a word")
	}
	if _, found := got.Adoptions["container-5"]; found {
		t.Error("the changed adoption is believed")
	}
	delete(want.Adoptions, "container-5")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is intact was lost:\n%s", diff)
	}
}

// A page that has lost its last entry has nothing wrong in itself.
func TestLostEntry(t *testing.T) {
	file, key, want := sample(t)
	told := 0
	for page := 2; page < len(file)/4096; page++ {
		damaged := bytes.Clone(file)
		count := damaged[page*4096+10:]
		if damaged[page*4096+8] != 2 || binary.NativeEndian.Uint16(count) == 0 {
			continue // not a page of entries
		}
		binary.NativeEndian.PutUint16(count, binary.NativeEndian.Uint16(count)-1)
		got, healed, _ := reopen(t, damaged, key)
		if diff := cmp.Diff(want, got); healed == "" && diff != "" {
			t.Errorf("page %d: an entry is lost and not a word:\n%s", page, diff)
		}
		if healed != "" {
			told++
		}
	}
	if told == 0 {
		t.Error("no page of entries was met")
	}
}

func TestDamageOfTheKey(t *testing.T) {
	file, key, want := sample(t)
	flipped := bytes.Clone(key)
	flipped[len(flipped)-1] ^= 1
	cases := []struct {
		name      string
		file, key []byte
		same      bool
		healed    string
	}{
		{"second copy lost", file, nil, true, ""},
		{"second copy damaged", file, flipped, true, ""},
		{"second copy cut off", file, key[:5], true, ""},
		{"state lost", nil, key, true, ""},
		{"state empty", []byte{}, key, true, "damaged"},
		{"both damaged", file[:100], flipped, false, "key is lost"},
		{"nothing there", nil, nil, false, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, healed, dir := reopen(t, c.file, c.key)
			if same := bytes.Equal(got.NodeKey, want.NodeKey); same != c.same {
				t.Errorf("same key: %v, want %v", same, c.same)
			}
			if !strings.Contains(healed, c.healed) || c.healed == "" && healed != "" {
				t.Errorf("healed %q, want %q", healed, c.healed)
			}
			// Both copies are there again.
			ok(t, os.Remove(filepath.Join(dir, "state.db")))
			if again := read(t, open(t, dir)); !bytes.Equal(again.NodeKey, got.NodeKey) {
				t.Error("the second copy was not mended")
			}
		})
	}
}

func TestDamagedFilesDontPileUp(t *testing.T) {
	dir := t.TempDir()
	for range 6 {
		ok(t, os.WriteFile(filepath.Join(dir, "state.db"), []byte("damaged"), 0o600))
		s := open(t, dir)
		if s.Healed() == "" {
			t.Fatal("not a word")
		}
		ok(t, s.Close())
	}
	aside, err := filepath.Glob(filepath.Join(dir, "state.db.corrupt-*"))
	ok(t, err)
	if len(aside) != 3 {
		t.Errorf("%d damaged files are kept, want 3", len(aside))
	}
}

func TestFolderInPlaceOfTheFile(t *testing.T) {
	dir := t.TempDir()
	ok(t, os.MkdirAll(filepath.Join(dir, "state.db", "x"), 0o700))
	s := open(t, dir)
	if s.Healed() == "" {
		t.Error("not a word")
	}
	ok(t, s.SetJob("a", "b"))
}

func FuzzOpen(f *testing.F) {
	file, _, _ := sample(f)
	f.Add(file)
	f.Add(file[:9000])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		ok(t, os.WriteFile(filepath.Join(dir, "state.db"), data, 0o600))
		s, err := state.Open(state.Config{Dir: dir}, slog.New(slog.DiscardHandler))
		ok(t, err, s.Close())
	})
}
