package desired_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"ktrdr.io/fleet/pkg/desired"
)

var update = flag.Bool("update", false, "write the golden files")

// wanted is the section of an archive that holds the report; all others are files of the
// repository.
const wanted = "REPORT"

// write makes a repository of an archive's files.
func write(tb testing.TB, files []txtar.File) string {
	tb.Helper()
	root := tb.TempDir()
	for _, file := range files {
		if file.Name == wanted {
			continue
		}
		name := filepath.Join(root, file.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(name, file.Data, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return root
}

// report prints what Validate says, as a person would see it.
func report(tb testing.TB, root string) string {
	tb.Helper()
	warnings, err := desired.Validate(tb.Context(), root)
	var out strings.Builder
	for _, w := range warnings {
		out.WriteString("warning: " + w.String() + "\n")
	}
	if err == nil {
		return out.String()
	}
	var all *desired.Error
	if !errors.As(err, &all) {
		tb.Fatalf("error is %T, want *desired.Error: %v", err, err)
	}
	for _, p := range all.Problems {
		if p.File == "" || p.Line < 1 || p.Column < 1 || p.Message == "" {
			tb.Errorf("problem without a place or a message: %+v", p)
		}
	}
	return out.String() + err.Error() + "\n"
}

// TestProblems compares the report on each repository in testdata/problems. A plain value
// in them holds the word canary: no report may repeat it.
func TestProblems(t *testing.T) {
	archives, err := filepath.Glob("testdata/problems/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			at := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == wanted })
			if at < 0 {
				t.Fatalf("no section %s", wanted)
			}
			got := report(t, write(t, archive.Files))
			if strings.Contains(got, "canary") {
				t.Errorf("the report repeats a value:\n%s", got)
			}
			if *update {
				archive.Files[at].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(archive.Files[at].Data), got); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
		})
	}
}
