package apply

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"ktrdr.io/fleet/pkg/treehash"
)

// hostDigest is the content digest of a host path that a container binds. It may take as
// long as the file system does, so the result is awaited only as long as ctx lives.
func hostDigest(ctx context.Context, path string) (string, error) {
	type result struct {
		digest string
		err    error
	}
	done := make(chan result, 1)
	go func() {
		digest, err := treehash.RepoDigest(os.DirFS(filepath.Dir(path)), filepath.Base(path))
		done <- result{digest, err}
	}()
	select {
	case r := <-done:
		return r.digest, r.err
	case <-ctx.Done():
		return "", fmt.Errorf("digest of %s: %w", path, ctx.Err())
	}
}
