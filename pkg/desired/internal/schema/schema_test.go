package schema_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/desired/internal/schema"
)

// TestSchemasAreUpToDate fails after a change of the kinds until `make generate` was run.
func TestSchemasAreUpToDate(t *testing.T) {
	files, err := schema.Generate("../../../api")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 3 {
		t.Fatalf("%d schemas, want those of Fleet, Node and Stack", len(files))
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("../../../../schemas", name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("schemas/%s is not what the types say, run `make generate` (-want +got):\n%s", name, diff)
		}
	}
}
