package secrets_test

import (
	"fmt"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
)

// TestEarlier: a replaced value stays at hand, by its digest, while it is needed, and the
// last one in any case.
func TestEarlier(t *testing.T) {
	const ref = "op://v/i/f"
	fake := &provider{values: map[string]string{}}
	store := secrets.New(fake, []byte("key"))
	needed := ""
	store.Needed(func(_, digest string) bool { return digest == needed })
	digests := make([]string, 5)
	for i := range digests {
		fake.values[ref] = fmt.Sprintf("value-number-%d", i)
		if err := store.Refresh(t.Context(), []string{ref}); err != nil {
			t.Fatal(err)
		}
		digests[i] = store.Digests()[ref]
		if i == 1 {
			needed = digests[0]
		}
	}
	atHand := map[int]bool{0: true, 3: true, 4: true}
	for i, digest := range digests {
		value, found := store.OpenAs(ref, digest)
		if found != atHand[i] || found && value.Open() != fmt.Sprintf("value-number-%d", i) {
			t.Errorf("value %d: found %t", i, found)
		}
		if found && strings.Contains(store.Redact("x "+value.Open()), "number") {
			t.Errorf("value %d is not redacted", i)
		}
	}
	if earlier := store.Earlier(); len(earlier) != 2 || !earlier[digests[0]] || !earlier[digests[3]] {
		t.Errorf("earlier: %v", earlier)
	}
	if _, found := store.OpenAs(ref, ""); found {
		t.Error("no digest is no value's")
	}
}

// TestRestore: what was found where it had been delivered is at hand by its digest only.
func TestRestore(t *testing.T) {
	const ref = "op://v/i/f"
	fake := &provider{values: map[string]string{}}
	store := secrets.New(fake, []byte("key"))
	store.Needed(func(string, string) bool { return true })
	store.Restore(ref, "from-before")
	digest := store.DigestOf(ref, "from-before")
	if v, found := store.OpenAs(ref, digest); !found || v.Open() != "from-before" {
		t.Error("not at hand")
	}
	if _, found := store.Open(ref); found || store.Digests()[ref] != "" {
		t.Error("counts as the present value")
	}
	fake.values[ref] = "from-before"
	if err := store.Refresh(t.Context(), []string{ref}); err != nil {
		t.Fatal(err)
	}
	if store.Digests()[ref] != digest || len(store.Earlier()) != 0 {
		t.Error("the provider says the same: it is the present one")
	}
}
