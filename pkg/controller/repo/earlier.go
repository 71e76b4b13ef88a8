package repo

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Bounds of a look at earlier commits. Pushes of real work stay far below.
const (
	maxEarlierCommits = 5000
	maxEarlierFiles   = 20_000
	maxEarlierBytes   = 256 << 20
	maxEarlierFile    = 16 << 20
	maxEarlierList    = 64 << 20
)

// EarlierFile is a file as a commit of a push made it.
type EarlierFile struct {
	// Commit is the full hash.
	Commit string
	Name   string
	Data   []byte
}

// Earlier calls visit with each file that a commit of the push brought and its newest commit
// no longer has like that, the newest first. What the repository has already is not
// among them. The number of commits and files, their size and the time are bounded: left says
// in words what was not looked at, "" for nothing. An error of visit ends it.
type Earlier func(ctx context.Context, visit func(EarlierFile) error) (left string, err error)

// earlierBlob is a file before it is read.
type earlierBlob struct{ commit, name, blob string }

// earlier is Earlier of the commits that lead to id.
func (i *incoming) earlier(id string) Earlier {
	return func(ctx context.Context, visit func(EarlierFile) error) (string, error) {
		var left leftOut
		blobs, err := i.earlierBlobs(ctx, id, &left)
		if err != nil || len(blobs) == 0 {
			return left.String(), err
		}
		if blobs, err = i.bySize(ctx, blobs, &left); err != nil || len(blobs) == 0 {
			return left.String(), err
		}
		err = i.readBlobs(ctx, blobs, &left, visit)
		return left.String(), err
	}
}

// earlierBlobs lists what the commits changed. What all parents of a merge have differently is
// the merge's own; the rest came with the parents.
func (i *incoming) earlierBlobs(ctx context.Context, id string, left *leftOut) ([]earlierBlob, error) {
	out, err := i.o.do(ctx, run{
		args: []string{"rev-list", "--topo-order", "--max-count=" + strconv.Itoa(maxEarlierCommits+1), "--stdin", "--not", "--all"}, env: i.env(), stdin: strings.NewReader(id + "\n"),
	})
	if err != nil {
		return nil, fmt.Errorf("list the commits of the push: %w", err)
	}
	commits := strings.Fields(string(out))
	if len(commits) > maxEarlierCommits {
		commits = commits[:maxEarlierCommits]
		left.commits = true
	}
	if len(commits) < 2 {
		return nil, nil // the one commit's files are the checkout's
	}
	now, err := i.o.do(ctx, run{args: []string{"ls-tree", "-r", "-z", "--full-tree", id}, env: i.env()})
	if err != nil {
		return nil, fmt.Errorf("list the files of the push: %w", err)
	}
	changes, err := i.o.do(ctx, run{
		args: []string{"diff-tree", "--stdin", "-r", "-c", "--root", "--no-renames", "--no-abbrev", "--raw", "-z"}, env: i.env(), max: maxEarlierList,
		stdin: strings.NewReader(strings.Join(commits, "\n") + "\n"),
	})
	if errors.Is(err, errTooMuch) {
		left.files, err = true, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list what the commits of the push changed: %w", err)
	}
	return parseChanges(changes, seenFiles(now), left), nil
}

// seenFiles are the files of the output of ls-tree, which the checkout has.
func seenFiles(out []byte) map[earlierBlob]bool {
	seen := map[earlierBlob]bool{}
	for entry := range bytes.SplitSeq(out, []byte{0}) {
		about, name, _ := strings.Cut(string(entry), "\t")
		if fields := strings.Fields(about); len(fields) == 3 {
			seen[earlierBlob{name: name, blob: fields[2]}] = true
		}
	}
	return seen
}

// parseChanges reads the output of diff-tree: a commit, then pairs of what is about a file and
// its name. All ends in NUL; what was cut off does not.
func parseChanges(out []byte, seen map[earlierBlob]bool, left *leftOut) []earlierBlob {
	var blobs []earlierBlob
	var commit, about string
	for entry := range bytes.SplitSeq(out[:bytes.LastIndexByte(out, 0)+1], []byte{0}) {
		text := string(entry)
		switch {
		case about != "":
			fields := strings.Fields(strings.TrimLeft(about, ":"))
			about = ""
			parents := (len(fields) - 3) / 2
			if parents < 1 || !isFile(fields[parents]) {
				continue
			}
			key := earlierBlob{name: text, blob: fields[len(fields)-2]}
			if seen[key] {
				continue
			}
			seen[key] = true
			if len(blobs) == maxEarlierFiles {
				left.files = true
				return blobs
			}
			blobs = append(blobs, earlierBlob{commit, key.name, key.blob})
		case strings.HasPrefix(text, ":"):
			about = text
		default:
			commit = text
		}
	}
	return blobs
}

// isFile tells modes of files and symbolic links from those of nothing and of submodules.
func isFile(mode string) bool { return strings.HasPrefix(mode, "10") || strings.HasPrefix(mode, "12") }

// bySize leaves out what is too large.
func (i *incoming) bySize(ctx context.Context, blobs []earlierBlob, left *leftOut) ([]earlierBlob, error) {
	out, err := i.o.do(ctx, run{args: []string{"cat-file", "--batch-check=%(objectsize)"}, env: i.env(), stdin: strings.NewReader(idsOf(blobs))})
	if err != nil {
		return nil, fmt.Errorf("read the sizes of earlier files: %w", err)
	}
	sizes := strings.Fields(string(out))
	if len(sizes) != len(blobs) {
		return nil, errors.New("read the sizes of earlier files: objects are missing")
	}
	kept, budget := blobs[:0], int64(maxEarlierBytes)
	for at, b := range blobs {
		size, err := strconv.ParseInt(sizes[at], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read the size of %s: %w", b.name, err)
		}
		if size > maxEarlierFile || size > budget {
			left.large(b)
			continue
		}
		budget -= size
		kept = append(kept, b)
	}
	return kept, nil
}

func idsOf(blobs []earlierBlob) string {
	var ids strings.Builder
	for _, b := range blobs {
		ids.WriteString(b.blob + "\n")
	}
	return ids.String()
}

// readBlobs reads one file after the other.
func (i *incoming) readBlobs(ctx context.Context, blobs []earlierBlob, left *leftOut, visit func(EarlierFile) error) error {
	in, out := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := i.o.do(ctx, run{args: []string{"cat-file", "--batch=%(objectsize)"}, env: i.env(), stdin: strings.NewReader(idsOf(blobs)), stdout: out})
		out.CloseWithError(err)
	}()
	defer func() { _ = in.Close(); <-done }()
	stream := bufio.NewReader(in)
	for at, b := range blobs {
		data, err := readBlob(stream)
		switch {
		case err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			left.late = len(blobs) - at
			return nil
		case err != nil:
			return fmt.Errorf("read %s of commit %.10s: %w", b.name, b.commit, err)
		}
		if err := visit(EarlierFile{b.commit, b.name, data}); err != nil {
			return err
		}
	}
	return nil
}

// readBlob reads one answer of cat-file --batch: the size, the content, a line break.
func readBlob(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	size, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if err != nil || size > maxEarlierFile {
		return nil, fmt.Errorf("git cat-file says %q", oneLine(line))
	}
	data := make([]byte, size+1)
	if _, err := io.ReadFull(in, data); err != nil {
		return nil, err
	}
	return data[:size], nil
}

// leftOut is what was not looked at.
type leftOut struct {
	commits, files bool
	tooLarge       int
	first          earlierBlob
	late           int
}

func (l *leftOut) large(b earlierBlob) {
	if l.tooLarge == 0 {
		l.first = b
	}
	l.tooLarge++
}

// String says it; "" for nothing.
func (l *leftOut) String() string {
	var out []string
	if l.commits {
		out = append(out, fmt.Sprintf("commits before the newest %d of the push", maxEarlierCommits))
	}
	if l.files {
		out = append(out, fmt.Sprintf("files beyond the newest %d", maxEarlierFiles))
	}
	if l.tooLarge > 0 {
		out = append(out, fmt.Sprintf("%d large files, the first %s of commit %.10s", l.tooLarge, l.first.name, l.first.commit))
	}
	if l.late > 0 {
		out = append(out, fmt.Sprintf("%d files for want of time", l.late))
	}
	return strings.Join(out, "; ")
}
