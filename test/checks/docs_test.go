package checks_test

import (
	"errors"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	inlineLink    = regexp.MustCompile(`\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)`)
	referenceLink = regexp.MustCompile(`^\s{0,3}\[[^\]]+\]:\s+<?(\S+?)>?(?:\s|$)`)
	codeSpan      = regexp.MustCompile("`[^`]*`")
	heading       = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*#*$`)
	scheme        = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)
)

// TestDocumentLinks wants every relative link in the documents to lead to a file
// and, with a fragment, to a heading of that file.
func TestDocumentLinks(t *testing.T) {
	documents := 0
	for _, name := range tracked(t) {
		if !strings.HasSuffix(name, ".md") || fixture(name) {
			continue
		}
		documents++
		for number, line := range prose(read(t, name)) {
			for _, target := range targets(line) {
				if problem := follow(t, name, target); problem != "" {
					t.Errorf("%s:%d: link %q: %s", name, number, target, problem)
				}
			}
		}
	}
	if documents == 0 {
		t.Fatal("git tracks no document")
	}
}

// follow returns what is wrong with a link of a document, or nothing.
func follow(t *testing.T, from, target string) string {
	t.Helper()
	if scheme.MatchString(target) || strings.HasPrefix(target, "//") {
		return ""
	}
	parsed, err := url.Parse(target)
	if err != nil {
		return err.Error()
	}
	if strings.HasPrefix(parsed.Path, "/") {
		return "absolute paths lead nowhere in a clone"
	}
	file := from
	if parsed.Path != "" {
		file = path.Join(path.Dir(from), parsed.Path)
	}
	if !filepath.IsLocal(filepath.FromSlash(file)) {
		return "leads out of the repository"
	}
	if _, err := os.Stat(filepath.Join(root(t), filepath.FromSlash(file))); errors.Is(err, fs.ErrNotExist) {
		return file + " does not exist"
	}
	if parsed.Fragment == "" || !strings.HasSuffix(file, ".md") {
		return ""
	}
	if !anchors(read(t, file))[parsed.Fragment] {
		return file + " has no such heading"
	}
	return ""
}

// targets returns where the links in a line of Markdown lead.
func targets(line string) []string {
	line = codeSpan.ReplaceAllString(line, "")
	var found []string
	for _, match := range inlineLink.FindAllStringSubmatch(line, -1) {
		found = append(found, match[1])
	}
	if match := referenceLink.FindStringSubmatch(line); match != nil {
		found = append(found, match[1])
	}
	return found
}

// prose yields the numbered lines of a Markdown file that are not in a fenced block.
func prose(content []byte) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		fence := ""
		for number, line := range lines(content) {
			mark := strings.TrimSpace(line)
			switch {
			case fence != "":
				if strings.HasPrefix(mark, fence) {
					fence = ""
				}
			case strings.HasPrefix(mark, "```"), strings.HasPrefix(mark, "~~~"):
				fence = mark[:3]
			case !yield(number, line):
				return
			}
		}
	}
}

// anchors returns the fragments that GitHub gives to the headings of a document.
func anchors(content []byte) map[string]bool {
	found := map[string]bool{}
	for _, line := range prose(content) {
		match := heading.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		slug := strings.Map(func(r rune) rune {
			switch {
			case unicode.IsLetter(r), unicode.IsNumber(r), r == '-', r == '_':
				return unicode.ToLower(r)
			case r == ' ':
				return '-'
			default:
				return -1
			}
		}, match[1])
		found[slug] = true
	}
	return found
}
