package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// incoming is a quarantine: the objects of a push that has not passed the gate. Nobody sees
// them, and they go away with it.
type incoming struct {
	dir string
	o   *objects
}

func (h *Hosted) newIncoming() (*incoming, error) {
	dir, err := os.MkdirTemp(h.incoming(), "push-")
	if err != nil {
		return nil, fmt.Errorf("make a place for the push: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "objects", "pack"), 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("make a place for the push: %w", err), os.RemoveAll(dir))
	}
	return &incoming{dir: dir, o: &h.objects}, nil
}

// env lets git write into the quarantine and read the repository behind it.
func (i *incoming) env() []string {
	return []string{
		"GIT_OBJECT_DIRECTORY=" + filepath.Join(i.dir, "objects"),
		"GIT_ALTERNATE_OBJECT_DIRECTORIES=" + filepath.Join(i.o.dir, "objects"),
	}
}

// unpack stores a pack and checks each object in it (git index-pack --strict is fsck). What
// the pusher sends after git has had enough is read and thrown away, as far as that goes: a
// client that is cut off does not read why.
func (i *incoming) unpack(ctx context.Context, body io.Reader, limits Limits) error {
	in, out, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	var pump sync.WaitGroup
	var sent int64
	var readErr error
	pump.Go(func() {
		sent, readErr = drainInto(out, io.LimitReader(body, 2*limits.MaxPushBytes))
		_ = out.Close()
	})
	_, err = i.o.do(ctx, run{
		args:  []string{"index-pack", "--stdin", "--fix-thin", "--strict", "--max-input-size=" + strconv.FormatInt(limits.MaxPushBytes, 10)},
		env:   i.env(),
		stdin: in, timeout: limits.TransferTimeout,
	})
	_ = in.Close()
	pump.Wait()
	switch {
	case err != nil && sent > limits.MaxPushBytes:
		return fmt.Errorf("the pack is larger than %d bytes", limits.MaxPushBytes)
	case readErr != nil:
		return fmt.Errorf("the pack has not come to its end: %w", readErr)
	}
	return err
}

// drainInto copies; when w takes no more it goes on reading. The error is one of reading.
func drainInto(w io.Writer, r io.Reader) (int64, error) {
	source := &failing{r: r}
	n, _ := io.Copy(w, source)
	if source.err == nil {
		more, _ := io.Copy(io.Discard, source)
		n += more
	}
	return n, source.err
}

// failing remembers an error of reading.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

// complete tells what is missing of a commit: that it is one, and all that it leads to.
func (i *incoming) complete(ctx context.Context, id string) error {
	kind, err := i.o.do(ctx, run{args: []string{"cat-file", "-t", id}, env: i.env()})
	if err != nil || strings.TrimSpace(string(kind)) != "commit" {
		return fmt.Errorf("%s is not a commit of this push", id)
	}
	_, err = i.o.do(ctx, run{
		args: []string{"rev-list", "--objects", "--stdin", "--not", "--all", "--quiet"}, env: i.env(),
		stdin: strings.NewReader(id + "\n"), timeout: i.o.limits.TransferTimeout,
	})
	if err != nil && ctx.Err() == nil {
		return errors.New("objects are missing: push from a clone with all files and history")
	}
	return err
}

// keep moves the objects into the repository, on disk for good when it returns.
func (i *incoming) keep() error {
	from, to := filepath.Join(i.dir, "objects", "pack"), filepath.Join(i.o.dir, "objects", "pack")
	if err := os.MkdirAll(to, 0o700); err != nil {
		return fmt.Errorf("keep the objects of a push: %w", err)
	}
	// The index last: it is what makes a pack count.
	for _, suffix := range []string{".pack", ".rev", ".idx"} {
		found, err := filepath.Glob(filepath.Join(from, "pack-*"+suffix))
		if err != nil {
			return fmt.Errorf("keep the objects of a push: %w", err)
		}
		for _, name := range found {
			if err := os.Rename(name, filepath.Join(to, filepath.Base(name))); err != nil {
				return fmt.Errorf("keep the objects of a push: %w", err)
			}
		}
	}
	return syncFolder(to)
}

func syncFolder(name string) error {
	folder, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("keep the objects of a push: %w", err)
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func (i *incoming) remove() error { return os.RemoveAll(i.dir) }
