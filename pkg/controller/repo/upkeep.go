package repo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// maxPacks and maxLoose are how many packs and loose objects may pile up before they are
	// packed together. Each push brings a pack, each command a few loose objects.
	maxPacks = 50
	maxLoose = 2000
	// upkeepTimeout bounds packing.
	upkeepTimeout = 10 * time.Minute
)

// sweep takes away what a killed git left: nobody else writes here.
func sweep(dir string) error {
	var errs []error
	for _, pattern := range []string{"*.lock", "refs/heads/*.lock", "objects/pack/tmp_*", "objects/pack/.tmp-*", "objects/??/tmp_obj_*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		errs = append(errs, err)
		for _, name := range found {
			errs = append(errs, os.Remove(name))
		}
	}
	// A pack without its index was about to be moved here when the process ended.
	packs, err := filepath.Glob(filepath.Join(dir, "objects", "pack", "pack-*.pack"))
	errs = append(errs, err)
	for _, pack := range packs {
		base := strings.TrimSuffix(pack, ".pack")
		if _, err := os.Stat(base + ".idx"); errors.Is(err, os.ErrNotExist) {
			errs = append(errs, os.Remove(pack), ignoreAbsent(os.Remove(base+".rev")))
		}
	}
	return errors.Join(errs...)
}

func ignoreAbsent(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// maintain packs objects together in the background once there are many. No object is ever
// dropped. It begins with the next turn and does not end with ctx.
func (h *Hosted) maintain(ctx context.Context) {
	out, err := h.line(ctx, "count-objects", "-v")
	if err != nil {
		h.cfg.Logger.Debug("count objects", "err", err)
		return
	}
	var loose, packs int
	for line := range strings.Lines(out) {
		_, _ = fmt.Sscanf(line, "count: %d", &loose) // other lines don't match
		_, _ = fmt.Sscanf(line, "packs: %d", &packs)
	}
	if loose <= maxLoose && packs <= maxPacks {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), upkeepTimeout)
	h.working.Go(func() {
		defer cancel()
		if h.take(ctx) != nil {
			return
		}
		defer h.release()
		if _, err := h.do(ctx, run{args: []string{"repack", "--geometric=2", "-d", "-q"}, timeout: upkeepTimeout}); err != nil {
			h.cfg.Logger.Warn("pack the repository's objects", "err", err)
		}
	})
}
