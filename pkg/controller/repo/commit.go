package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/desired/edit"
	"ktrdr.io/fleet/pkg/source"
)

// Commit is one revision of the repository.
type Commit struct {
	// ID and Parents are full hashes.
	ID      string
	Parents []string
	Author  Who
	// Time is when it was committed.
	Time time.Time
	// Message is the whole text; its first line is the subject.
	Message string
}

// Subject is the first line of the message.
func (c Commit) Subject() string {
	subject, _, _ := strings.Cut(c.Message, "\n")
	return subject
}

var (
	fullHash = regexp.MustCompile(`^[0-9a-f]{40}$`)
	someHash = regexp.MustCompile(`^[0-9a-f]{4,40}$`)
)

const (
	// emptyTree is the hash of a tree without entries.
	emptyTree    = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
	commitForm   = "%H%x00%P%x00%an%x00%ae%x00%ct%x00%B"
	commitFields = 6
)

// objects is a bare repository with what is made of its commits.
type objects struct {
	*git

	trees  *source.Commits
	limits Limits
}

// log runs git log and parses what it prints.
func (o *objects) log(ctx context.Context, args ...string) ([]Commit, error) {
	out, err := o.do(ctx, run{args: append([]string{"log", "-z", "--no-show-signature", "--format=tformat:" + commitForm}, args...)})
	if err != nil {
		return nil, err
	}
	fields := strings.Split(string(out), "\x00")
	var commits []Commit
	for ; len(fields) >= commitFields; fields = fields[commitFields:] {
		seconds, err := strconv.ParseInt(fields[4], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read commit %s: its time is no number", oneLine(fields[0]))
		}
		commits = append(commits, Commit{
			ID: fields[0], Parents: strings.Fields(fields[1]), Author: Who{Name: fields[2], Email: fields[3]},
			Time: time.Unix(seconds, 0).UTC(), Message: strings.TrimSpace(fields[5]),
		})
	}
	return commits, nil
}

// show returns one commit.
func (o *objects) show(ctx context.Context, id string) (Commit, error) {
	if !fullHash.MatchString(id) {
		return Commit{}, fmt.Errorf("%q: %w", oneLine(id), ErrUnknownRevision)
	}
	commits, err := o.log(ctx, "-1", "--end-of-options", id)
	if exitCode(err) == 128 {
		if there, asked := o.has(ctx, id); asked == nil && !there {
			return Commit{}, fmt.Errorf("%s: %w", id, ErrUnknownRevision)
		}
	}
	if err != nil {
		return Commit{}, fmt.Errorf("read commit %s: %w", id, err)
	}
	if len(commits) != 1 || commits[0].ID != id {
		return Commit{}, fmt.Errorf("%s: %w", id, ErrUnknownRevision)
	}
	return commits[0], nil
}

// isAncestor tells whether old is new or a commit before it.
func (o *objects) isAncestor(ctx context.Context, old, id string, env ...string) (bool, error) {
	_, err := o.do(ctx, run{args: []string{"merge-base", "--is-ancestor", old, id}, env: env})
	if exitCode(err) == 1 {
		return false, nil
	}
	return err == nil, err
}

// has tells whether a commit is in the repository.
func (o *objects) has(ctx context.Context, id string) (bool, error) {
	_, err := o.do(ctx, run{args: []string{"cat-file", "-e", id + "^{commit}"}})
	if code := exitCode(err); code == 1 || code == 128 {
		return false, nil
	}
	return err == nil, err
}

// commitEdits writes the objects of a commit on top of base. No reference moves.
func (o *objects) commitEdits(ctx context.Context, base string, edits []edit.Edit, header commitHeader) (string, error) {
	folder, err := os.MkdirTemp(o.home, "index-")
	if err != nil {
		return "", fmt.Errorf("make a commit: %w", err)
	}
	defer os.RemoveAll(folder) //nolint:errcheck // an index that nobody reads again
	index := "GIT_INDEX_FILE=" + filepath.Join(folder, "index")
	if _, err := o.do(ctx, run{args: []string{"read-tree", base + "^{tree}"}, env: []string{index}}); err != nil {
		return "", fmt.Errorf("make a commit on %s: %w", base, err)
	}
	var entries bytes.Buffer
	for _, e := range edits {
		if err := o.stage(ctx, base, e, &entries); err != nil {
			return "", err
		}
	}
	if _, err := o.do(ctx, run{args: []string{"update-index", "-z", "--index-info"}, env: []string{index}, stdin: &entries}); err != nil {
		return "", fmt.Errorf("make a commit on %s: %w", base, err)
	}
	tree, err := o.do(ctx, run{args: []string{"write-tree"}, env: []string{index}})
	if err != nil {
		return "", fmt.Errorf("make a commit on %s: %w", base, err)
	}
	return o.commitTree(ctx, strings.TrimSpace(string(tree)), base, header)
}

// stage writes the blob of an edit and its line for the index. Only a file that is there, with
// the content that was edited, can be changed.
func (o *objects) stage(ctx context.Context, base string, e edit.Edit, into *bytes.Buffer) error {
	if path.Clean(e.Path) != e.Path || !filepath.IsLocal(e.Path) || strings.ContainsAny(e.Path, "\x00\n") {
		return fmt.Errorf("commit %q: is not a clean path of the repository", e.Path)
	}
	out, err := o.do(ctx, run{args: []string{"ls-tree", "-z", base, "--", e.Path}})
	if err != nil {
		return fmt.Errorf("commit %s: %w", e.Path, err)
	}
	mode, rest, _ := strings.Cut(string(out), " ")
	if !strings.HasPrefix(rest, "blob ") || mode != "100644" && mode != "100755" {
		return fmt.Errorf("commit %s: is not a regular file in %s", e.Path, base)
	}
	before, err := o.do(ctx, run{args: []string{"cat-file", "blob", base + ":" + e.Path}})
	if err != nil {
		return fmt.Errorf("commit %s: %w", e.Path, err)
	}
	if !bytes.Equal(before, e.Before) {
		return fmt.Errorf("commit %s: is not what was edited any more: try again", e.Path)
	}
	blob, err := o.do(ctx, run{args: []string{"hash-object", "-w", "--stdin"}, stdin: bytes.NewReader(e.After)})
	if err != nil {
		return fmt.Errorf("commit %s: %w", e.Path, err)
	}
	fmt.Fprintf(into, "%s %s\t%s\x00", mode, strings.TrimSpace(string(blob)), e.Path)
	return nil
}

// commitHeader is what a commit says besides its tree.
type commitHeader struct {
	who     Who
	message string
	now     time.Time
}

// commitTree writes a commit of a tree. parent is "" for the first.
func (o *objects) commitTree(ctx context.Context, tree, parent string, header commitHeader) (string, error) {
	name, email := identity(header.who.Name), identity(header.who.Email)
	if name == "" {
		return "", errors.New("make a commit: it needs the name of its author")
	}
	if email == "" {
		email = strings.ReplaceAll(name, " ", ".") + "@ktrdr.invalid"
	}
	when := fmt.Sprintf("%d +0000", header.now.Unix())
	env := []string{
		"GIT_AUTHOR_NAME=" + name, "GIT_AUTHOR_EMAIL=" + email, "GIT_AUTHOR_DATE=" + when,
		"GIT_COMMITTER_NAME=" + name, "GIT_COMMITTER_EMAIL=" + email, "GIT_COMMITTER_DATE=" + when,
	}
	args := []string{"commit-tree", "--no-gpg-sign", "-F", "-"}
	if parent != "" {
		args = append(args, "-p", parent)
	}
	message := strings.ReplaceAll(strings.TrimSpace(header.message), "\x00", "") + "\n"
	out, err := o.do(ctx, run{args: append(args, tree), env: env, stdin: strings.NewReader(message)})
	if err != nil {
		return "", fmt.Errorf("make a commit: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// setBranch moves a branch from old to id; old "" means whatever it is.
func (o *objects) setBranch(ctx context.Context, branch, id, old string) error {
	args := []string{"update-ref", "--no-deref", "refs/heads/" + branch, id}
	if old != "" {
		args = append(args, old)
	}
	_, err := o.line(ctx, args...)
	return err
}

// branch returns the commit of a branch; "" for none.
func (o *objects) branch(ctx context.Context, name string) (string, error) {
	id, err := o.line(ctx, "for-each-ref", "--format=%(objectname)", "refs/heads/"+name)
	if err != nil {
		return "", fmt.Errorf("read branch %s: %w", name, err)
	}
	return id, nil
}
