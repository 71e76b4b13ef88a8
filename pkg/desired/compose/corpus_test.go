package compose_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/desired/compose"
)

// refusals are the reasons for which files of the corpus are refused. A problem that is
// none of them fails the test.
var refusals = map[string]*regexp.Regexp{
	"only builds":      regexp.MustCompile(`needs an image: the agent does not build`),
	"only an override": regexp.MustCompile(`services\.app: needs an image$`),
	"misspelt":         regexp.MustCompile(`wrongField: is not an attribute`),
	"home directory":   regexp.MustCompile(`~/minecraft_data: a home directory means nothing`),
	"absolute file":    regexp.MustCompile(`/doesnotexist/\.env is an absolute path`),
}

// Every file of the corpus loads, with its variables supplied, or is refused for a reason
// that is known here. The numbers are those of files.
func TestCorpus(t *testing.T) {
	root := shared(t)
	got := map[string]int{}
	for _, file := range composeFiles(t, root) {
		name, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { got[corpusFile(t, root, name)]++ })
	}
	want := map[string]int{"loaded": 54, "only builds": 45, "home directory": 1, "only an override": 1, "misspelt": 1, "absolute file": 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files by outcome (-want +got):\n%s", diff)
	}
}

// corpusFile loads one file and returns "loaded" or the reason of the refusal.
func corpusFile(t *testing.T, root, name string) string {
	t.Helper()
	p, err := compose.Load(t.Context(), compose.Request{
		Root: root, Dir: filepath.Dir(name), Files: []string{name}, Project: "corpus",
		WorkingDirectory: "/opt/corpus", Profiles: []string{"*"}, Lookup: supplied(t, filepath.Join(root, name)),
	})
	if err == nil {
		if len(p.Services) == 0 {
			t.Error("no services")
		}
		return "loaded"
	}
	var all *compose.Error
	if !errors.As(err, &all) {
		t.Fatal(err)
	}
	reason := ""
	for _, problem := range all.Problems {
		known := false
		for category, pattern := range refusals {
			if pattern.MatchString(problem.String()) {
				known, reason = true, category
			}
		}
		if !known || problem.Line < 1 || problem.File == "" {
			t.Errorf("unexpected: %s", problem)
		}
	}
	return reason
}

func composeFiles(t *testing.T, root string) []string {
	t.Helper()
	sections := regexp.MustCompile(`(?m)^(services|include):`)
	var out []string
	err := filepath.WalkDir(root, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !slices.Contains([]string{".yml", ".yaml"}, filepath.Ext(file)) {
			return err
		}
		data, err := os.ReadFile(file)
		if err == nil && sections.Match(data) {
			out = append(out, file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// supplied answers for the variables that a file uses without a default.
func supplied(t *testing.T, file string) func(string) (string, bool) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	path := regexp.MustCompile(`FILE|PATH|DIR|MEDIA`)
	plain := regexp.MustCompile(`\$([A-Za-z_][A-Za-z0-9_]*)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)
	for _, m := range plain.FindAllStringSubmatch(string(data), -1) {
		name := m[1] + m[2]
		values[name] = "value"
		if path.MatchString(name) {
			values[name] = "/host/value"
		}
	}
	return func(name string) (string, bool) { v, ok := values[name]; return v, ok }
}
