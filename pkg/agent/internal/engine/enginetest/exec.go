package enginetest

import (
	"context"
	"path"
	"strings"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// Exec runs a command in a running container and returns its end.
func (f *Fake) Exec(ctx context.Context, r engine.ExecRequest) (result engine.ExecResult, err error) {
	err = f.call(ctx, request{"Exec", r.ID, "exec in container"}, func() error {
		c, err := f.find(r.ID)
		switch {
		case err != nil:
			return err
		case !c.live():
			return refuse(engine.ErrConflict, "Container %s is not running", c.id)
		case c.paused:
			return refuse(engine.ErrConflict, "Container %s is paused, unpause the container before exec", c.name)
		}
		f.emitContainer(c, "exec_create")
		f.emitContainer(c, "exec_start")
		result = f.runCommand(c, r)
		f.emitContainer(c, "exec_die")
		limit := r.MaxOutput
		if limit == 0 {
			limit = 4096
		}
		result.Output = result.Output[:min(limit, len(result.Output))]
		return nil
	})
	return result, err
}

// CopyFiles writes files into a container, running or not.
func (f *Fake) CopyFiles(ctx context.Context, id string, files []api.File) error {
	return f.call(ctx, request{"CopyFiles", id, "copy files"}, func() error {
		c, err := f.find(id)
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return nil
		}
		if c.spec.ReadOnly {
			return refuse(engine.ErrInvalid, "container rootfs is marked read-only")
		}
		for _, file := range files {
			c.files[path.Clean(file.Target)] = file.Content
		}
		f.emitContainer(c, "extract-to-dir")
		return nil
	})
}

// Logs returns the last lines of a container's output.
func (f *Fake) Logs(ctx context.Context, id string, tail int) (text string, err error) {
	err = f.call(ctx, request{"Logs", id, "read logs"}, func() error {
		c, err := f.find(id)
		if err != nil {
			return err
		}
		lines := c.logs[max(0, len(c.logs)-tail):]
		text = strings.Join(lines, "\n")
		if text != "" {
			text += "\n"
		}
		return nil
	})
	return text, err
}
