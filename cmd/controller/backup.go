package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/controller"
)

// standard is the name of standard input and output.
const standard = "-"

func backup(ctx context.Context, cfg controller.Config, o options, stdout io.Writer) error {
	if o.out == standard {
		_, err := controller.Backup(ctx, cfg, stdout)
		return err
	}
	if _, err := os.Lstat(o.out); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s exists already: name a new file", o.out)
		}
		return fmt.Errorf("write the backup: %w", err)
	}
	var of string
	size, err := writeNew(o.out, func(w io.Writer) (err error) {
		of, err = controller.Backup(ctx, cfg, w)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s: %d bytes, %s\nIt holds names, addresses and digests of tokens: keep it as the store itself. ", o.out, size, of)
	fmt.Fprintf(stdout, "It does not hold %s (the fleet: without it every node joins again)", filepath.Join(cfg.StateDir, "authority"))
	if cfg.Repository.Follow == nil {
		fmt.Fprintf(stdout, " and %s: copy that after this, not before", filepath.Join(cfg.StateDir, "repository", "desired-state.git"))
	}
	_, err = fmt.Fprintln(stdout, ".")
	return err
}

// writeNew writes a file of mode 0600 that is there as a whole or not at all, and never in the
// place of another one.
func writeNew(name string, content func(io.Writer) error) (size int64, err error) {
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".") // mode 0600
	if err != nil {
		return 0, fmt.Errorf("write the backup: %w", err)
	}
	defer func() {
		if gone := os.Remove(file.Name()); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}()
	if err := content(file); err != nil {
		return 0, errors.Join(err, file.Close())
	}
	info, errStat := file.Stat()
	if err := errors.Join(errStat, file.Sync(), file.Close()); err != nil {
		return 0, fmt.Errorf("write the backup: %w", err)
	}
	err = os.Link(file.Name(), name) // a rename would replace what has come since
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = os.Rename(file.Name(), name) // shares often have no links
	}
	if err != nil {
		return 0, fmt.Errorf("write the backup: %w", err)
	}
	return info.Size(), nil
}

func restore(ctx context.Context, cfg controller.Config, o options, stdout io.Writer) (err error) {
	from := controller.From{Content: os.Stdin, Prefix: o.prefix}
	if o.from != standard {
		file, err := os.Open(o.from)
		if err != nil {
			return fmt.Errorf("read the backup: %w", err)
		}
		defer file.Close() //nolint:errcheck // it was read
		from.Content = file
	}
	r, err := controller.Restore(ctx, cfg, from)
	if err != nil {
		return err
	}
	_, err = io.WriteString(stdout, report(&r))
	return err
}

// report says what was restored, and what comes next.
func report(r *controller.Restored) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%d records are in %s now. Nodes: %d, operators: %d", r.Records, r.Into, r.Nodes, r.Operators)
	if r.Head != "" {
		fmt.Fprintf(&out, ", accepted revision %s of %s", r.Head, r.AcceptedAt.Format(time.RFC3339))
	}
	if !r.Newest.IsZero() {
		fmt.Fprintf(&out, "; the newest entry of the audit trail is of %s", r.Newest.Format(time.RFC3339))
	}
	out.WriteString(".\nJoin tokens are left out: make new ones. What was changed after the backup is not there: remove again which nodes and operators were removed since.\n")
	if r.Head != "" {
		out.WriteString("A node that runs something newer than the accepted revision goes back to it, unless the newer one is pushed before it connects (docs/operations.md).\n")
	}
	for _, missing := range r.Missing {
		fmt.Fprintf(&out, "MISSING: %s.\n", missing)
	}
	if r.Remote != "" && r.Head != "" {
		fmt.Fprintf(&out, "The branch of %s has to have the accepted revision.\n", r.Remote)
	}
	start := "Start the controller"
	if len(r.Missing) > 0 {
		start = "The controller does not start before that is there. Then start it"
	}
	out.WriteString(start + ", and none on another store of this fleet: nodes come back by themselves, with the certificates that they have.\n")
	return out.String()
}
