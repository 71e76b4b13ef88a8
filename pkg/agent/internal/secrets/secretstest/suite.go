package secretstest

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
)

// Backend is a provider together with the world behind it.
type Backend struct {
	Provider secrets.Provider
	// Refs are two references that the provider understands, for which nothing is set.
	Refs [2]string
	// Set makes the value of a reference, at once visible to the provider.
	Set func(t *testing.T, ref, value string)
	// Remove takes it away.
	Remove func(t *testing.T, ref string)
	// Break makes the provider fail as a whole, with content in whatever its error
	// output is; Mend undoes it.
	Break func(t *testing.T, content string)
	Mend  func(t *testing.T)
	// Duplicate makes a second thing of the same name with another value; nil where names
	// are unique.
	Duplicate func(t *testing.T, ref, value string)
	// Faults begin faults of the world behind the provider, for every request until Mend.
	// Those that it can't have are left out.
	Faults map[Fault]func(t *testing.T, content string)
}

// canary is a value that must never turn up where values don't belong.
const canary = "cAnArY-7f3a9b-value"

// Run checks a provider; begin makes a fresh backend for each case.
func Run(t *testing.T, begin func(t *testing.T) Backend) {
	t.Helper()
	for name, check := range map[string]func(*testing.T, Backend){
		"values":           values,
		"missing":          missing,
		"empty":            empty,
		"invalid":          invalid,
		"change":           change,
		"outage":           outage,
		"cancelled":        cancelled,
		"concurrent":       concurrent,
		"nothing asked":    nothing,
		"no value in text": silent,
		"ambiguous":        ambiguous,
		"impatient":        impatient,
	} {
		t.Run(name, func(t *testing.T) { check(t, begin(t)) })
	}
	t.Run("faults", func(t *testing.T) { faults(t, begin) })
}

func resolve(t *testing.T, b Backend, refs ...string) map[string]secrets.Result {
	t.Helper()
	results, err := b.Provider.Resolve(t.Context(), refs)
	if err != nil {
		t.Fatalf("resolve: %v", err)
	}
	if len(results) != len(refs) {
		t.Fatalf("%d answers to %d references", len(results), len(refs))
	}
	return results
}

func values(t *testing.T, b Backend) {
	texts := []string{"plain", " blanks around ", "two\nlines\n", `quo"tes' \ and $dollar #hash =`, "ünïcode-\u20ac", strings.Repeat("long", 2000)}
	for _, text := range texts {
		b.Set(t, b.Refs[0], text)
		b.Set(t, b.Refs[1], "other")
		results := resolve(t, b, b.Refs[:]...)
		if got := results[b.Refs[0]]; got.Err != nil || got.Value.Open() != text {
			t.Errorf("%q came back as %q, %v", text, got.Value.Open(), got.Err)
		}
		if got := results[b.Refs[1]]; got.Err != nil || got.Value.Open() != "other" {
			t.Errorf("the second reference came back as %q, %v", got.Value.Open(), got.Err)
		}
	}
	if b.Provider.Name() == "" {
		t.Error("no name")
	}
}

// missing: one reference that is not there does not fail another one.
func missing(t *testing.T, b Backend) {
	b.Set(t, b.Refs[0], canary)
	results := resolve(t, b, b.Refs[:]...)
	if results[b.Refs[0]].Err != nil {
		t.Errorf("the present one failed: %v", results[b.Refs[0]].Err)
	}
	classed(t, results[b.Refs[1]], secrets.ErrNotFound)
	b.Remove(t, b.Refs[0])
	classed(t, resolve(t, b, b.Refs[0])[b.Refs[0]], secrets.ErrNotFound)
}

func empty(t *testing.T, b Backend) {
	b.Set(t, b.Refs[0], "")
	got := resolve(t, b, b.Refs[0])[b.Refs[0]]
	classed(t, got, secrets.ErrEmpty)
}

func invalid(t *testing.T, b Backend) {
	b.Set(t, b.Refs[0], canary)
	// What is no reference may be a pasted value.
	results := resolve(t, b, b.Refs[0], "not-a-reference-"+canary)
	classed(t, results["not-a-reference-"+canary], secrets.ErrInvalid)
	if results[b.Refs[0]].Err != nil {
		t.Errorf("the valid one failed: %v", results[b.Refs[0]].Err)
	}
}

// classed wants an error of the contract: classed, with a reason, and no value.
func classed(t *testing.T, got secrets.Result, want error) {
	t.Helper()
	if !errors.Is(got.Err, want) {
		t.Errorf("error %v, want %v", got.Err, want)
	}
	judge(t, got.Err)
	if !got.Value.IsEmpty() {
		t.Error("a value beside the error")
	}
}

func judge(t *testing.T, err error) {
	t.Helper()
	var failed *secrets.Error
	if !errors.As(err, &failed) || failed.Class == "" || failed.Reason == "" {
		t.Errorf("%v has no class and reason", err)
	}
	if err != nil && holds(err.Error()) {
		t.Errorf("the error holds a value: %v", err)
	}
}

// holds tells whether a text has the canary in it, plain or encoded.
func holds(text string) bool {
	for _, form := range []string{
		canary, hex.EncodeToString([]byte(canary)), base64.StdEncoding.EncodeToString([]byte(canary)), url.QueryEscape(canary),
	} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

func change(t *testing.T, b Backend) {
	b.Set(t, b.Refs[0], "first")
	before := resolve(t, b, b.Refs[0])[b.Refs[0]]
	same := resolve(t, b, b.Refs[0])[b.Refs[0]]
	if before.Version != same.Version {
		t.Errorf("nothing changed, but version %s became %s", before.Version, same.Version)
	}
	b.Set(t, b.Refs[0], "other")
	after := resolve(t, b, b.Refs[0])[b.Refs[0]]
	if after.Value.Open() != "other" {
		t.Errorf("after the change: %q", after.Value.Open())
	}
	if before.Version == after.Version {
		t.Errorf("the value changed, version %s did not", after.Version)
	}
}

func outage(t *testing.T, b Backend) {
	b.Set(t, b.Refs[0], canary)
	resolve(t, b, b.Refs[0])
	b.Break(t, canary)
	results, err := b.Provider.Resolve(t.Context(), b.Refs[:1])
	if err == nil {
		t.Fatalf("a broken provider answered %v", results)
	}
	judge(t, err)
	if got := results[b.Refs[0]]; got.Err == nil && !got.Value.IsEmpty() {
		t.Error("a broken provider gave a value")
	}
	b.Mend(t)
	b.Set(t, b.Refs[0], "back")
	if got := resolve(t, b, b.Refs[0])[b.Refs[0]]; got.Value.Open() != "back" {
		t.Errorf("after the outage: %q, %v", got.Value.Open(), got.Err)
	}
}

func cancelled(t *testing.T, b Backend) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Provider.Resolve(ctx, b.Refs[:]); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call gave %v", err)
	}
}

func concurrent(t *testing.T, b Backend) {
	b.Set(t, b.Refs[0], canary)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			results, err := b.Provider.Resolve(t.Context(), b.Refs[:1])
			if err != nil || results[b.Refs[0]].Value.Open() != canary {
				t.Errorf("got %v, %v", results, err)
			}
		})
	}
	wg.Wait()
}

func nothing(t *testing.T, b Backend) {
	b.Set(t, b.Refs[0], "x")
	resolve(t, b)
}

// silent: neither the provider itself nor its answers show a value when printed.
func silent(t *testing.T, b Backend) {
	b.Set(t, b.Refs[0], canary)
	results := resolve(t, b, b.Refs[0])
	if results[b.Refs[0]].Value.Open() != canary {
		t.Fatal("the canary did not arrive")
	}
	for _, text := range Shown(results, b.Provider) {
		if holds(text) {
			t.Errorf("a value is shown: %s", text)
		}
	}
}
