package source_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/source"
	"ktrdr.io/fleet/pkg/source/sourcetest"
	"ktrdr.io/fleet/test/leaks"
)

func TestMain(m *testing.M) { leaks.Main(m) }

func fetchOK(t testing.TB, s source.Source) source.Tree {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), sourcetest.Patience)
	defer cancel()
	tree, err := s.Fetch(ctx, "")
	if err != nil {
		t.Fatalf("Fetch: %v (reason %s)", err, source.ReasonOf(err))
	}
	return tree
}

// wantError wants the reason, and all parts in the message.
func wantError(t testing.TB, err error, reason source.Reason, parts ...string) {
	t.Helper()
	var e *source.Error
	if !errors.As(err, &e) || e.Reason != reason {
		t.Fatalf("error %v, want reason %s", err, reason)
	}
	for _, p := range parts {
		if !strings.Contains(e.Error(), p) {
			t.Errorf("error %q doesn't mention %q", e, p)
		}
	}
}
