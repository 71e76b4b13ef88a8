package fleet

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/controller/repo"
	"ktrdr.io/fleet/pkg/controller/slicing"
	"ktrdr.io/fleet/pkg/source"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

const (
	// maxUploads is how many uploads are looked at at the same time.
	maxUploads = 4
	// uploadLimit is how long one may take from its beginning to its end, as ktrdrctl waits.
	uploadLimit = time.Minute
)

// errUpload tells of an archive that is refused as a whole.
var errUpload = errors.New("the archive is refused")

// Validate reports the problems of a state that was uploaded, and what a push of it would
// change.
func (s *Service) Validate(in grpc.ClientStreamingServer[ktrdrv1.TreeChunk, ktrdrv1.ValidateResponse]) error {
	ctx := in.Context()
	receive := within(s.cfg.UploadLimit, in.Recv)
	content := func() ([]byte, error) {
		chunk, err := receive()
		return chunk.GetContent(), err
	}
	return s.uploaded(ctx, "validate", content, func(dir string, _ func()) error {
		answer, err := s.validated(ctx, dir)
		if err != nil {
			return err
		}
		return in.SendAndClose(answer)
	})
}

// within is receive until limit has passed, counted from now. What still waits for a message
// then ends with the stream, which is when its handler returns.
func within[T any](limit time.Duration, receive func() (T, error)) func() (T, error) {
	type received struct {
		message T
		err     error
	}
	end := time.Now().Add(limit)
	return func() (T, error) {
		got := make(chan received, 1)
		go func() {
			message, err := receive()
			got <- received{message, err}
		}()
		timer := time.NewTimer(time.Until(end))
		defer timer.Stop()
		select {
		case r := <-got:
			return r.message, r.err
		case <-timer.C:
			var none T
			return none, status.Errorf(codes.Aborted, "the folder did not arrive within %s: is the connection slow, or the folder large? The desired state alone is enough", limit)
		}
	}
}

// uploaded unpacks an archive and calls use with its folder, which goes away after that. The
// upload has its place until then, or until use calls leave: it has to have another place by
// then, because the folder takes room on the disk.
func (s *Service) uploaded(ctx context.Context, doing string, content func() ([]byte, error), use func(dir string, leave func()) error) error {
	select {
	case s.uploads <- struct{}{}:
	default:
		return status.Errorf(codes.ResourceExhausted, "%d uploads are looked at already; try again in a moment", maxUploads)
	}
	leave := sync.OnceFunc(func() { <-s.uploads })
	defer leave()
	dir, err := os.MkdirTemp("", "ktrdr-upload-")
	if err != nil {
		return s.failed(ctx, doing, err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a folder of ours that nobody reads again
	err = unpack(dir, &chunks{receive: content}, source.Limits{MaxFiles: 10_000, MaxBytes: 64 << 20})
	if errors.Is(err, errUpload) {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if err == nil {
		err = use(dir, leave)
	}
	if err != nil {
		return s.failed(ctx, doing, err)
	}
	return nil
}

func (s *Service) validated(ctx context.Context, dir string) (*ktrdrv1.ValidateResponse, error) {
	warnings, err := check(ctx, source.Tree{Dir: dir}, nil)
	out := &ktrdrv1.ValidateResponse{Warnings: problemsToProto(warnings)}
	if refused, ok := errors.AsType[*refusal](err); ok {
		out.Problems = problemsToProto(refused.problems)
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	head := ""
	switch commit, err := s.cfg.Repo.Head(ctx); {
	case err == nil:
		head = commit.ID
	case !errors.Is(err, repo.ErrEmpty):
		return nil, err
	}
	diff, err := s.cfg.Repo.DiffFolder(ctx, head, dir)
	if err != nil {
		return nil, err
	}
	out.Diff, out.Truncated = strings.ToValidUTF8(diff.Text, "\ufffd"), diff.Truncated
	tree, err := slicing.Open(source.Tree{Dir: dir})
	if err != nil {
		return nil, err
	}
	defer tree.Close() //nolint:errcheck // a folder that was only read
	out.Nodes, err = s.touchedBy(ctx, head, tree)
	return out, err
}

// chunks is the upload as a reader.
type chunks struct {
	receive func() ([]byte, error)
	rest    []byte
}

// Read implements io.Reader.
func (c *chunks) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		part, err := c.receive()
		if err != nil {
			return 0, err
		}
		if c.rest = part; len(c.rest) > maxTreeChunk {
			return 0, fmt.Errorf("%w: a part has more than %d bytes", errUpload, maxTreeChunk)
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

const (
	maxTreeChunk = 1 << 20
	// maxDepth of folders in each other, as on a node: the work for one name grows with it.
	maxDepth = 32
)

// unpack writes an archive below dir: regular files, folders and links that stay inside.
func unpack(dir string, from io.Reader, limits source.Limits) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // nothing to flush
	in := tar.NewReader(from)
	for count, left := 0, limits.MaxBytes; ; count++ {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return archiveError(err)
		}
		if count >= limits.MaxFiles {
			return fmt.Errorf("%w: more than %d files", errUpload, limits.MaxFiles)
		}
		if left -= header.Size; left < 0 || header.Size < 0 {
			return fmt.Errorf("%w: more than %d bytes", errUpload, limits.MaxBytes)
		}
		if err := place(root, header, in); err != nil {
			return err
		}
	}
}

func archiveError(err error) error {
	if _, ok := status.FromError(err); ok || errors.Is(err, errUpload) {
		return err
	}
	return fmt.Errorf("%w: %w", errUpload, err)
}

func place(root *os.Root, header *tar.Header, content io.Reader) error {
	name := path.Clean(header.Name)
	if name == "." {
		return nil
	}
	if !filepath.IsLocal(name) {
		return fmt.Errorf("%w: %.80q leaves the tree", errUpload, header.Name)
	}
	if slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return strings.EqualFold(part, ".git") }) {
		return fmt.Errorf("%w: %.80q is git's own and no part of a repository's tree", errUpload, header.Name)
	}
	if strings.Count(name, "/") >= maxDepth {
		return fmt.Errorf("%w: more than %d folders in each other", errUpload, maxDepth)
	}
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return fmt.Errorf("%w: %w", errUpload, err)
	}
	var err error
	switch header.Typeflag {
	case tar.TypeDir:
		err = root.MkdirAll(name, 0o700)
	case tar.TypeSymlink:
		err = root.Symlink(header.Linkname, name) // what follows it does so through os.Root
	case tar.TypeReg:
		err = write(root, name, fs.FileMode(header.Mode&0o100), content) //nolint:gosec // one bit
	default:
		return fmt.Errorf("%w: %.80q is neither a file, a folder nor a link", errUpload, header.Name)
	}
	if err != nil {
		return archiveError(err)
	}
	return nil
}

func write(root *os.Root, name string, executable fs.FileMode, content io.Reader) error {
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600|executable)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	return errors.Join(err, file.Close())
}
