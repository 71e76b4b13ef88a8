package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"ktrdr.io/fleet/pkg/api"
)

// defaultFileMode is Compose's mode of configs and secrets.
const defaultFileMode = 0o444

// CopyFiles writes files into a container's file system, before its first start; files
// of the same path are replaced. They live in the writable layer.
// Engine API: PUT /containers/{id}/archive.
func (c *Client) CopyFiles(ctx context.Context, id string, files []api.File) error {
	if len(files) == 0 {
		return nil
	}
	archive, err := tarOf(files)
	what := call{op: "copy files to", object: id, limit: c.cfg.Change}
	return c.do(ctx, what, func(ctx context.Context, s *session) error {
		if err != nil {
			return err
		}
		_, err := s.cli.CopyToContainer(ctx, id, client.CopyToContainerOptions{
			DestinationPath: "/", Content: bytes.NewReader(archive),
			// Owners are those of the archive. With CopyUIDGID the engine would give the files
			// to the container's user, whose name it looks up among the host's users.
			AllowOverwriteDirWithFile: false, CopyUIDGID: false,
		})
		return err
	})
}

func tarOf(files []api.File) ([]byte, error) {
	var buffer bytes.Buffer
	archive := tar.NewWriter(&buffer)
	for _, file := range files {
		if err := checkResolved([]byte(file.Content)); err != nil {
			return nil, fmt.Errorf("file %s: %w", file.Target, err)
		}
		mode := int64(file.Mode)
		if mode == 0 {
			mode = defaultFileMode
		}
		header := &tar.Header{
			Name: strings.TrimLeft(file.Target, "/"), Size: int64(len(file.Content)), Mode: mode,
			Uid: file.UID, Gid: file.GID, ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg,
		}
		if err := archive.WriteHeader(header); err != nil {
			return nil, invalidf("file %s: %w", file.Target, err)
		}
		if _, err := archive.Write([]byte(file.Content)); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}
