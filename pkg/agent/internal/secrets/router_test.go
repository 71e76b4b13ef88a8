package secrets_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
)

// accounted is a provider with a network behind it.
type accounted struct {
	provider
	token *api.TokenState
}

func (*accounted) Name() string               { return "connect" }
func (*accounted) Requests() (uint64, uint64) { return 7, 2 }
func (a *accounted) Token() *api.TokenState   { return a.token }

func TestRouterGoesByScheme(t *testing.T) {
	op := &provider{values: map[string]string{"op://v/i/f": "one", "OP://v/i/g": "two"}}
	akv := &provider{values: map[string]string{"akv://vault/name": "three"}}
	r := secrets.NewRouter()
	r.Add(op, api.SchemeOnePassword)
	r.Add(akv, api.SchemeAzure)
	s := secrets.New(r, nil)
	if err := s.Refresh(t.Context(), []string{"op://v/i/f", "OP://v/i/g", "akv://vault/name"}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"op://v/i/f": "one", "OP://v/i/g": "two", "akv://vault/name": "three"}
	if diff := cmp.Diff(want, values(s, "op://v/i/f", "OP://v/i/g", "akv://vault/name")); diff != "" {
		t.Error(diff)
	}
	if op.calls.Load() != 1 || akv.calls.Load() != 1 {
		t.Errorf("%d and %d calls, want one each", op.calls.Load(), akv.calls.Load())
	}
}

// One provider that is down fails its own references only, and is said once.
func TestRouterKeepsFailuresApart(t *testing.T) {
	down := &secrets.Error{Class: api.Transient, Reason: api.ReasonSecretsStale, Err: secrets.ErrUnreachable}
	op := &provider{err: down}
	akv := &provider{values: map[string]string{"akv://vault/name": "three"}}
	r := secrets.NewRouter()
	r.Add(op, api.SchemeOnePassword)
	r.Add(akv, api.SchemeAzure)
	s := secrets.New(r, nil)
	err := s.Refresh(t.Context(), []string{"op://v/i/f", "op://v/i/g", "akv://vault/name"})
	if !errors.Is(err, secrets.ErrUnreachable) || strings.Count(err.Error(), down.Error()) != 1 {
		t.Errorf("error %v", err)
	}
	if got := values(s, "akv://vault/name"); len(got) != 1 {
		t.Error("the provider that works gave nothing")
	}
	states := s.Providers()
	if states[0].Reachable || states[0].Reason != api.ReasonSecretsStale || states[0].Message == "" || !states[1].Reachable {
		t.Errorf("states %+v", states)
	}
	if _, err := r.Resolve(t.Context(), []string{"op://v/i/f"}); !errors.Is(err, secrets.ErrUnreachable) {
		t.Errorf("a failure of all that was asked gave %v", err)
	}
}

func TestRouterWithoutProvider(t *testing.T) {
	r := secrets.NewRouter()
	results, err := r.Resolve(t.Context(), []string{"op://v/i/f", "akv://vault/name", "hunter2hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	for ref, hint := range map[string]string{"op://v/i/f": "secrets.connect", "akv://vault/name": "secrets.keyVault"} {
		if got := results[ref].Err; !errors.Is(got, secrets.ErrNotFound) || !strings.Contains(got.Error(), hint) {
			t.Errorf("%s gave %v", ref, got)
		}
	}
	if got := results["hunter2hunter2"].Err; !errors.Is(got, secrets.ErrInvalid) || strings.Contains(got.Error(), "hunter2") {
		t.Errorf("what is no reference gave %v", got)
	}
}

func TestProviderStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &accounted{token: &api.TokenState{Vaults: []api.VaultScope{{ID: "x"}}}}
		r := secrets.NewRouter()
		r.Add(p, api.SchemeOnePassword)
		s := secrets.New(r, nil)
		check := func(want secrets.ProviderState) {
			t.Helper()
			want.Name, want.Schemes, want.Requests, want.FailedRequests, want.Token = "connect", []string{"op"}, 7, 2, p.token
			if diff := cmp.Diff([]secrets.ProviderState{want}, s.Providers()); diff != "" {
				t.Error(diff)
			}
		}
		check(secrets.ProviderState{})
		_ = s.Refresh(t.Context(), []string{"op://v/i/f"}) // not found is an answer
		first := time.Now()
		check(secrets.ProviderState{Reachable: true, LastAttempt: first, LastSuccess: first})
		time.Sleep(time.Hour) // the bubble's clock
		p.err = &secrets.Error{Class: api.Transient, Reason: api.ReasonSecretsStale, Err: secrets.ErrUnreachable}
		_ = s.Refresh(t.Context(), []string{"op://v/i/f"})
		check(secrets.ProviderState{LastAttempt: time.Now(), LastSuccess: first, Reason: api.ReasonSecretsStale, Message: p.err.Error()})
		p.err = nil
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		before := s.Providers()
		_ = s.Refresh(ended, []string{"op://v/i/f"})
		if diff := cmp.Diff(before, s.Providers()); diff != "" {
			t.Errorf("an attempt that the caller ended says something:\n%s", diff)
		}
	})
}

func TestTokenState(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		left time.Duration
		days int
		soon bool
	}{
		{15 * 24 * time.Hour, 15, false}, {14*24*time.Hour - 1, 13, true}, {time.Hour, 0, true}, {-time.Hour, -1, true}, {-25 * time.Hour, -2, true},
	} {
		token := &api.TokenState{Expires: now.Add(c.left)}
		if days, ok := token.DaysLeft(now); !ok || days != c.days || token.ExpiresSoon(now) != c.soon {
			t.Errorf("%s left: %d days, soon %v", c.left, days, token.ExpiresSoon(now))
		}
	}
	for _, token := range []*api.TokenState{nil, {}} {
		if _, ok := token.DaysLeft(now); ok || token.ExpiresSoon(now) {
			t.Error("a token without an end expires")
		}
	}
}
