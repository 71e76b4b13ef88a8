package secrets_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/agent/internal/secrets/secretstest"
	"ktrdr.io/fleet/pkg/api"
)

// provider answers from a map, or with err; wait, when set, holds every call.
type provider struct {
	mu     sync.Mutex
	values map[string]string
	fail   map[string]error
	err    error
	wait   chan struct{}
	calls  atomic.Int32
}

func (*provider) Name() string { return "test" }

func (p *provider) Resolve(ctx context.Context, refs []string) (map[string]secrets.Result, error) {
	p.calls.Add(1)
	if p.wait != nil {
		select {
		case <-p.wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil, p.err
	}
	results := map[string]secrets.Result{}
	for _, ref := range refs {
		if value, found := p.values[ref]; found || p.fail[ref] != nil {
			results[ref] = secrets.Result{Value: secrets.NewValue(value), Version: "7", Err: p.fail[ref]}
		}
	}
	return results, nil
}

func values(s *secrets.Store, refs ...string) map[string]string {
	texts := map[string]string{}
	for _, ref := range refs {
		if value, found := s.Open(ref); found {
			texts[ref] = value.Open()
		}
	}
	return texts
}

func phases(s *secrets.Store) map[string]secrets.Phase {
	all := map[string]secrets.Phase{}
	for _, state := range s.States() {
		all[state.Ref] = state.Phase
	}
	return all
}

// The last good value survives everything that a provider can do.
func TestLastGoodValuesAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{values: map[string]string{"a": "value-a", "b": "value-b"}}
		s := secrets.New(p, []byte("key"))
		if err := s.Refresh(t.Context(), []string{"b", "a", "a"}); err != nil {
			t.Fatal(err)
		}
		want, digests := map[string]string{"a": "value-a", "b": "value-b"}, s.Digests()
		time.Sleep(time.Minute) // the bubble's clock
		failure := &secrets.Error{Ref: "a", Class: api.Waiting, Reason: api.ReasonSecretMissing, Err: secrets.ErrAmbiguous}
		for name, change := range map[string]func(){
			"error of all":   func() { p.err = errors.New("down") },
			"error of one":   func() { p.err, p.fail = nil, map[string]error{"a": failure} },
			"empty value":    func() { p.fail, p.values = nil, map[string]string{"a": "", "b": "value-b"} },
			"not answered":   func() { p.values = map[string]string{"b": "value-b"} },
			"nothing at all": func() { p.values = nil },
		} {
			p.err, p.fail = nil, nil
			change()
			if err := s.Refresh(t.Context(), []string{"a", "b"}); err == nil {
				t.Errorf("%s: no error", name)
			}
			if diff := cmp.Diff(want, values(s, "a", "b")); diff != "" {
				t.Errorf("%s changed values:\n%s", name, diff)
			}
			if diff := cmp.Diff(digests, s.Digests()); diff != "" {
				t.Errorf("%s changed digests:\n%s", name, diff)
			}
			state := s.States()[0]
			if state.Phase != secrets.Stale || state.Reason != api.ReasonSecretsStale || state.Message == "" || state.Age != time.Minute {
				t.Errorf("%s: state %+v", name, state)
			}
		}
		p.err, p.fail, p.values = nil, nil, map[string]string{"a": "new-a", "b": "value-b"}
		if err := s.Refresh(t.Context(), []string{"a", "b"}); err != nil {
			t.Fatal(err)
		}
		if got := values(s, "a")["a"]; got != "new-a" || s.Digests()["a"] == digests["a"] || s.Digests()["b"] != digests["b"] {
			t.Errorf("after a change: %q, digests %v", got, s.Digests())
		}
		if state := s.States()[0]; state.Phase != secrets.Fresh || state.Age != 0 || state.Version != "7" || state.Message != "" {
			t.Errorf("state %+v", state)
		}
	})
}

func TestMissing(t *testing.T) {
	p := &provider{values: map[string]string{"a": "x"}, fail: map[string]error{
		"c": &secrets.Error{Ref: "c", Class: api.Terminal, Reason: api.ReasonInvalid, Err: secrets.ErrInvalid},
	}}
	s := secrets.New(p, nil)
	err := s.Refresh(t.Context(), []string{"a", "b", "c"})
	if !errors.Is(err, secrets.ErrNotFound) || !errors.Is(err, secrets.ErrInvalid) {
		t.Errorf("error %v", err)
	}
	want := map[string]secrets.Phase{"a": secrets.Fresh, "b": secrets.Missing, "c": secrets.Missing}
	if diff := cmp.Diff(want, phases(s)); diff != "" {
		t.Error(diff)
	}
	if states := s.States(); states[1].Reason != api.ReasonSecretMissing || states[2].Reason != api.ReasonInvalid {
		t.Errorf("states %+v", states)
	}
	if _, found := s.Open("b"); found || len(s.Digests()) != 1 {
		t.Error("a missing reference has a value or a digest")
	}
	s.Retain(func(ref string) bool { return ref == "b" })
	if _, found := s.Open("a"); found || len(s.States()) != 1 {
		t.Error("a dropped reference is still there")
	}
}

// A digest is stable for the node, and nobody without the key can guess a value from it.
func TestDigests(t *testing.T) {
	digests := func(key, ref, value string) map[string]string {
		s := secrets.New(&provider{values: map[string]string{ref: value}}, []byte(key))
		if err := s.Refresh(t.Context(), []string{ref}); err != nil {
			t.Fatal(err)
		}
		return s.Digests()
	}
	base := digests("key", "ref", "1234")["ref"]
	if again := digests("key", "ref", "1234")["ref"]; again != base || !strings.HasPrefix(base, "v1:") || len(base) != 3+64 {
		t.Errorf("digests %s and %s", base, again)
	}
	for name, other := range map[string]string{
		"key": digests("kez", "ref", "1234")["ref"], "value": digests("key", "ref", "1235")["ref"],
		"reference": digests("key", "rez", "1234")["rez"], "boundary": digests("key", "ref1", "234")["ref1"],
	} {
		if other == base {
			t.Errorf("another %s has the same digest", name)
		}
	}
}

func TestOneCallAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &provider{values: map[string]string{"a": "x", "b": "y"}, wait: make(chan struct{})}
		s := secrets.New(p, nil)
		var wg sync.WaitGroup
		start := func(ctx context.Context, want error, refs ...string) {
			wg.Go(func() {
				if err := s.Refresh(ctx, refs); !errors.Is(err, want) {
					t.Errorf("refresh of %v gave %v, want %v", refs, err, want)
				}
			})
			synctest.Wait()
		}
		first, cancel := context.WithCancel(t.Context())
		impatient, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		start(first, context.Canceled, "a", "b")
		start(t.Context(), nil, "b") // joins
		start(t.Context(), nil, "a")
		start(impatient, context.DeadlineExceeded, "a")
		if n := p.calls.Load(); n != 1 {
			t.Fatalf("%d calls at once", n)
		}
		time.Sleep(2 * time.Second)
		// The one who started the call goes away: the others start their own, one after another.
		cancel()
		synctest.Wait()
		if n := p.calls.Load(); n != 2 {
			t.Errorf("%d calls after the first was given up, want 2", n)
		}
		close(p.wait)
		wg.Wait()
		if diff := cmp.Diff(map[string]string{"a": "x", "b": "y"}, values(s, "a", "b")); diff != "" {
			t.Error(diff)
		}
		before := p.calls.Load()
		for range 10 {
			start(t.Context(), nil, "a")
		}
		if n := p.calls.Load() - before; n != 10 {
			t.Errorf("%d calls for 10 refreshes in turn", n)
		}
	})
}

func TestRefreshOfNothing(t *testing.T) {
	p := &provider{err: errors.New("must not be called")}
	if err := secrets.New(p, nil).Refresh(t.Context(), nil); err != nil || p.calls.Load() != 0 {
		t.Errorf("%v after %d calls", err, p.calls.Load())
	}
}

// disguises are the ways in which a value gets into texts.
func disguises(value string) map[string]string {
	quoted, _ := json.Marshal(value)
	all := map[string]string{
		"raw": value, "query": url.QueryEscape(value), "path": url.PathEscape(value), "json": string(quoted[1 : len(quoted)-1]),
		"hex": hex.EncodeToString([]byte(value)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(value))),
	}
	for name, e := range map[string]*base64.Encoding{"std": base64.StdEncoding, "url": base64.URLEncoding} {
		for offset := range 3 {
			all[fmt.Sprint(name, offset)] = e.EncodeToString([]byte("abc"[:offset] + value + "tail"))
		}
	}
	return all
}

func TestRedact(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		value := rapid.StringOfN(rapid.RuneFrom([]rune("abcXYZ019 /+=&?\"'\\<>\n%ü€")), 8, 30, -1).Draw(r, "value")
		p := &provider{values: map[string]string{"a": value}}
		s := secrets.New(p, nil)
		if s.Redact(value) != value {
			r.Fatal("an unknown value was replaced")
		}
		if err := s.Refresh(t.Context(), []string{"a"}); err != nil {
			r.Fatal(err)
		}
		p.values["a"] = "another value" // the old one is still in logs
		for round := range 2 {
			for name, text := range disguises(value) {
				got := s.Redact("before " + text + " after")
				core := text
				if strings.HasPrefix(name, "std") || strings.HasPrefix(name, "url") {
					core = text[4 : 4+(len(value)-3)/3*4] // groups that the value fills alone
				}
				if strings.Contains(got, core) || !strings.HasPrefix(got, "before ") || !strings.HasSuffix(got, " after") || !strings.Contains(got, secrets.Redacted) {
					r.Fatalf("round %d, %s: %q became %q", round, name, text, got)
				}
			}
			if err := s.Refresh(t.Context(), []string{"a"}); err != nil {
				r.Fatal(err)
			}
		}
	})
}

func TestRedactOverlapsAndShortValues(t *testing.T) {
	p := &provider{values: map[string]string{"a": "secret-one", "b": "one-secret-two", "c": "short", "d": "secret-one-longer", "e": "ret-on", "f": "ababab", "g": "8042", "h": "first line of a key\nand its second line\nan end"}}
	s := secrets.New(p, nil)
	if err := s.Refresh(t.Context(), slices.Collect(maps.Keys(p.values))); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"":                          "",
		"nothing here, short":       "nothing here, short",
		"x secret-one y":            "x [redacted] y",
		"x secret-one-longer y":     "x [redacted] y",
		"x secret-one-secret-two y": "x [redacted] y",
		"secret-onesecret-one":      "[redacted][redacted]",
		"x abababab y":              "x [redacted] y",
		"ends in secret-one":        "ends in [redacted]",
		"pin 8042, 8042.":           "pin [redacted], [redacted].",
		"18042 80421 x8042 8042Z":   "18042 80421 x8042 8042Z",
		"key:  first line of a key": "key:  [redacted]",
		"first line of a key\r\nand its second line\r\n": "[redacted]\r\n[redacted]\r\n",
		"an end": "an end",
	} {
		if got := s.Redact(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

// What an earlier agent delivered is known without a provider.
func TestRedactRemembers(t *testing.T) {
	s := secrets.New(&provider{}, nil)
	s.Remember([]string{"value-of-before"})
	if err := s.Refresh(t.Context(), []string{"a"}); err == nil {
		t.Fatal("a was found")
	}
	if got := s.Redact("x value-of-before"); got != "x [redacted]" {
		t.Error(got)
	}
}

// The store itself, its states and its errors show no value.
func TestStoreShowsNothing(t *testing.T) {
	const canary = "cAnArY-0815-store"
	p := &provider{values: map[string]string{"a": canary}}
	s := secrets.New(p, []byte("node-key-canary-0815"))
	if err := s.Refresh(t.Context(), []string{"a", "b"}); err == nil {
		t.Fatal("b was found")
	}
	if value, _ := s.Open("a"); value.Open() != canary {
		t.Fatal("the canary did not arrive")
	}
	p.err = errors.New("down")
	err := s.Refresh(t.Context(), []string{"a"})
	p.values = nil
	for _, text := range secretstest.Shown(s, s.States(), s.Digests(), err) {
		if found(canary, []string{text}) || found("node-key-canary-0815", []string{text}) {
			t.Errorf("the store shows a value or its key: %q", text)
		}
	}
}
