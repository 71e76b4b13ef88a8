package repo_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/controller/repo"
)

// earlierOf pushes and returns what the gate could read of earlier commits, by commit and file,
// and what was left out.
func earlierOf(t *testing.T, s *server, w *work) (files []string, left string) {
	t.Helper()
	subjects := map[string]string{}
	for line := range strings.Lines(w.git("log", "--format=%H %s")) {
		id, subject, _ := strings.Cut(strings.TrimSpace(line), " ")
		subjects[id] = subject
	}
	s.gate.check = func(ctx context.Context, push repo.Push, _ func(string)) error {
		var err error
		left, err = push.Earlier(ctx, func(f repo.EarlierFile) error {
			text := string(f.Data)
			if len(text) > 20 {
				text = text[:20]
			}
			files = append(files, subjects[f.Commit]+" "+f.Name+" "+text)
			return nil
		})
		return err
	}
	w.git("push", "-q", "-o", "nowait", "origin", "main")
	slices.Sort(files)
	return files, left
}

// TestEarlierFiles: each version of a file that the newest commit has not, once, with the commit
// that made it; nothing that the repository has, and nothing that a merge only brought along.
func TestEarlierFiles(t *testing.T) {
	s, w := filled(t, nil)
	w.write("old.txt", "accepted\n")
	w.commit("accepted")
	w.git("push", "-q", "-o", "nowait", "origin", "main")
	w.write("stacks/x/tls.pem", "one\n")
	w.write("kept.txt", "kept\n")
	w.commit("adds")
	w.git("checkout", "-q", "-b", "side")
	w.write("side key.txt", "side\n")
	w.write("both.txt", "a\n")
	w.commit("side")
	w.git("checkout", "-q", "main")
	w.write("both.txt", "b\n")
	w.git("rm", "-q", "old.txt", "stacks/x/tls.pem")
	w.write("copy.txt", "one\n")
	w.commit("deletes")
	if out, err := w.try("merge", "-q", "--no-commit", "side"); err == nil {
		t.Fatalf("no conflict: %s", out)
	}
	w.write("both.txt", "merged\n")
	w.write("in-merge.txt", "of the merge\n")
	w.commit("merge")
	w.write("both.txt", "last\n")
	w.git("rm", "-q", "side key.txt", "in-merge.txt", "copy.txt")
	w.commit("last")
	files, left := earlierOf(t, s, w)
	want := []string{
		"adds stacks/x/tls.pem one\n", "deletes both.txt b\n", "deletes copy.txt one\n", "merge both.txt merged\n",
		"merge in-merge.txt of the merge\n", "side both.txt a\n", "side side key.txt side\n",
	}
	if diff := cmp.Diff(want, files); diff != "" || left != "" {
		t.Errorf("left %q, %s", left, diff)
	}
}

// TestEarlierFilesAreBounded: what is too large or too long ago is left out, and said.
func TestEarlierFilesAreBounded(t *testing.T) {
	s, w := filled(t, nil)
	var commits strings.Builder
	for n := range 5001 {
		fmt.Fprintf(&commits, "commit refs/heads/main\ncommitter Ann <ann@example.org> %d +0000\ndata 1\n.\n", 1_700_000_000+n)
		if n == 0 {
			commits.WriteString("from refs/heads/main^0\nM 644 inline first.txt\ndata 2\n1\n\n")
		} else {
			fmt.Fprintf(&commits, "M 644 inline n.txt\ndata <<.\n%d\n.\n", n)
		}
	}
	w.feed(commits.String(), "fast-import", "--quiet")
	w.git("reset", "-q", "--hard", "main")
	w.write("large", strings.Repeat("0", 17<<20))
	w.commit("large")
	w.git("rm", "-q", "large", "first.txt")
	w.commit("deletes")
	files, left := earlierOf(t, s, w)
	if len(files) != 4997 || !strings.Contains(left, "commits before the newest 5000 of the push; 1 large files, the first large of commit ") {
		t.Errorf("%d files, left %q", len(files), left)
	}
}
