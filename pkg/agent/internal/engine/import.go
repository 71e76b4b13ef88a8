package engine

import (
	"context"
	"errors"
	"io"

	"github.com/moby/moby/client"
)

// ImportRequest asks for an image made of a tar archive with the files of its root.
type ImportRequest struct {
	// Ref that the image gets.
	Ref     string
	Archive io.Reader
}

// maxAnswer bounds what is read of an answer that nobody looks at, in bytes.
const maxAnswer = 1 << 20

// ImportImage makes an image without a registry. Engine API: POST /images/create?fromSrc=-.
func (c *Client) ImportImage(ctx context.Context, req ImportRequest) error {
	return c.do(ctx, call{op: "import image", object: req.Ref, limit: c.cfg.Change}, func(ctx context.Context, s *session) error {
		source := client.ImageImportSource{Source: req.Archive, SourceName: "-"}
		answer, err := s.cli.ImageImport(ctx, source, req.Ref, client.ImageImportOptions{})
		if err != nil {
			return err
		}
		defer answer.Close() //nolint:errcheck // it was read to its end, or has failed
		_, err = io.Copy(io.Discard, io.LimitReader(answer, maxAnswer))
		return err
	})
}

// RemoveImage removes a reference to an image, and the image with its last one. One that
// is gone is no error. Engine API: DELETE /images/{name}.
func (c *Client) RemoveImage(ctx context.Context, ref string) error {
	err := c.do(ctx, call{op: "remove image", object: ref, limit: c.cfg.Change}, func(ctx context.Context, s *session) error {
		_, err := s.cli.ImageRemove(ctx, ref, client.ImageRemoveOptions{PruneChildren: true})
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
