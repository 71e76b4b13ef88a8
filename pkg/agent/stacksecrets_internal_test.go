package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
)

// vault is a provider of one value.
type vault struct {
	value string
	err   error
}

func (*vault) Name() string { return "vault" }

func (v *vault) Resolve(_ context.Context, refs []string) (map[string]secrets.Result, error) {
	results := map[string]secrets.Result{}
	for _, ref := range refs {
		results[ref] = secrets.Result{Value: secrets.NewValue(v.value), Version: v.value}
	}
	return results, v.err
}

// TestStackSecret: what is told is the generation of the value in force, and the newest one
// only while that is another.
func TestStackSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const ref = "op://v/i/f"
		start := time.Now()
		v := &vault{}
		store := secrets.New(v, make([]byte, 32))
		look := func(value string, err error) string {
			v.value, v.err = value, err
			_ = store.Refresh(t.Context(), []string{ref})
			time.Sleep(time.Minute) // the bubble's clock
			return store.Digests()[ref]
		}
		want := func(what, inForce string, want api.StackSecret) {
			t.Helper()
			want.Reference = ref
			if diff := cmp.Diff(want, stackSecret(store, ref, inForce)); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
		want("never asked", "", api.StackSecret{Phase: api.SecretMissing})
		first := look("one", nil)
		want("the first", first, api.StackSecret{Generation: 1, Since: start})
		second := look("two", nil)
		want("a rotation is due", first, api.StackSecret{Generation: 1, Wanted: 2, Since: start})
		want("the second", second, api.StackSecret{Generation: 2, Since: start.Add(time.Minute)})
		want("a value from before the start", "v1:other", api.StackSecret{Wanted: 2})
		look("", errors.New("down"))
		want("stale", second, api.StackSecret{Generation: 2, Since: start.Add(time.Minute), Phase: api.SecretStale, ConfirmedAt: start.Add(time.Minute)})
		if again := look("one", nil); again != first {
			t.Fatal("the digest of a value changed")
		}
		want("the first again", first, api.StackSecret{Generation: 3, Since: start.Add(3 * time.Minute)})
		for i := range 100 {
			look(string(rune('a'+i%26))+string(rune('a'+i/26)), nil)
		}
		want("long gone", second, api.StackSecret{Wanted: 103})
	})
}
