package secrets_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
	"ktrdr.io/fleet/pkg/api"
)

// asked notes what a provider is asked for.
type asked struct {
	provider
	refs []string
}

func (a *asked) Resolve(ctx context.Context, refs []string) (map[string]secrets.Result, error) {
	a.refs = append(a.refs, refs...)
	return a.provider.Resolve(ctx, refs)
}

// TestGuarded: a provider never sees the text of a reference that is not allowed, and what
// is allowed is not held up by it. Taking the allowance back counts at once.
func TestGuarded(t *testing.T) {
	p := &asked{provider: provider{values: map[string]string{"op://good/i/f": "one", "op://bad/i/f": "two"}}}
	r := secrets.NewRouter()
	r.Add(p, api.SchemeOnePassword, api.SchemeAzure)
	open := true
	s := secrets.New(secrets.NewGuarded(r, func(ref string) bool { return open && strings.HasPrefix(ref, "op://good/") }), make([]byte, 32))
	refs := []string{"op://good/i/f", "op://bad/i/f", "hunter2hunter2"}
	err := s.Refresh(t.Context(), refs)
	if !errors.Is(err, secrets.ErrNotAllowed) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"op://good/i/f"}, p.refs); diff != "" {
		t.Errorf("the provider was asked for: %s", diff)
	}
	if diff := cmp.Diff(map[string]string{"op://good/i/f": "one"}, values(s, refs...)); diff != "" {
		t.Error(diff)
	}
	if i := slices.IndexFunc(s.States(), func(st secrets.State) bool { return st.Ref == "op://bad/i/f" }); s.States()[i].Reason != api.ReasonPolicyViolation {
		t.Errorf("state %+v", s.States()[i])
	}
	if len(s.Providers()) != 1 {
		t.Error("the states of providers got lost behind the wall")
	}
	open = false
	_ = s.Refresh(t.Context(), refs[:1]) // told by States
	if len(p.refs) != 1 {
		t.Error("a reference went through after its allowance was taken back")
	}
}
