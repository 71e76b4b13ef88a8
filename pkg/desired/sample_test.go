package desired_test

import (
	"path/filepath"
	"testing"
)

func sample(tb testing.TB) string {
	tb.Helper()
	root, err := filepath.Abs("../../desired-state")
	if err != nil {
		tb.Fatal(err)
	}
	return root
}
