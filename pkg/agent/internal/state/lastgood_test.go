package state_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/agent/internal/state"
	"ktrdr.io/fleet/pkg/api"
)

// Every field of a desired state comes back: what is lost would look like a change of
// the desired state after a restart.
func TestDesiredComesBackExactly(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	rapid.Check(t, func(r *rapid.T) {
		f := filler{rand.New(rand.NewPCG(rapid.Uint64().Draw(r, "seed"), 0)), rapid.SampledFrom([]int{0, 30, 60, 100}).Draw(r, "zeros")}
		var want api.Desired
		f.fill(reflect.ValueOf(&want).Elem())
		if err := s.SetLastGood(&want); err != nil {
			r.Fatal(err)
		}
		got, err := s.LastGood()
		if err != nil {
			r.Fatal(err)
		}
		if !reflect.DeepEqual(*got, want) {
			r.Fatalf("came back different:\n%s", cmp.Diff(want, *got))
		}
	})
	want, err := s.LastGood()
	ok(t, err, s.Close())
	got, err := open(t, dir).LastGood()
	ok(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after a restart:\n%s", diff)
	}
}

// filler sets every field at any depth, each of them zero with a chance of zeros percent;
// slices, maps and pointers are nil, empty (or pointing at zero), or filled.
type filler struct {
	rand  *rand.Rand
	zeros int
}

func (f filler) fill(v reflect.Value) {
	if v.Kind() != reflect.Struct && f.rand.IntN(100) < f.zeros {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			f.fill(field)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Slice:
		n := f.rand.IntN(3)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			f.fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range f.rand.IntN(3) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.fill(key)
			f.fill(value)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString([]string{"a", "<&>", "\u2028\u0000", "\uE000op://v/i/f\uE001", "ü"}[f.rand.IntN(5)])
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(f.rand.Float64())
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.rand.Int32()) - 1<<30)
	case reflect.Uint16, reflect.Uint32:
		v.SetUint(uint64(f.rand.Uint32N(1 << 16)))
	default:
		panic("a field of kind " + v.Kind().String())
	}
}

func TestLastGoodRefusals(t *testing.T) {
	s := open(t, t.TempDir())
	if _, err := s.LastGood(); !errors.Is(err, state.ErrNone) {
		t.Errorf("an empty state gave %v", err)
	}
	kept := &api.Desired{Revision: "good"}
	ok(t, s.SetLastGood(kept))
	// JSON would turn the byte into another character, and nobody would notice.
	err := s.SetLastGood(&api.Desired{Revision: "bad\xff"})
	var classed *state.Error
	if !errors.As(err, &classed) || classed.Class != api.Terminal {
		t.Errorf("a state that can't be kept exactly gave %v", err)
	}
	if got, err := s.LastGood(); err != nil || got.Revision != "good" {
		t.Errorf("the refused state replaced the good one: %v, %v", got, err)
	}
}

func TestSameDesiredIsNotWrittenAgain(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	ok(t, s.SetLastGood(&api.Desired{Revision: "r1"}), s.SetJob("a", "b"))
	before, err := os.ReadFile(filepath.Join(dir, "state.db"))
	ok(t, err)
	ok(t, s.SetLastGood(&api.Desired{Revision: "r1"}), s.SetJob("a", "b"), s.SetHold("x", nil))
	after, err := os.ReadFile(filepath.Join(dir, "state.db"))
	ok(t, err)
	if string(before) != string(after) {
		t.Error("an unchanged value was written")
	}
	ok(t, s.SetJob("a", "c"))
	if changed, _ := os.ReadFile(filepath.Join(dir, "state.db")); string(changed) == string(after) {
		t.Error("a changed value was not written")
	}
}
