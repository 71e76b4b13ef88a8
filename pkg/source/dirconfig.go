package source

import (
	"errors"
	"fmt"
	"log/slog"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// DirConfig describes a folder as a source.
type DirConfig struct {
	// Root is the folder that holds the desired state. Required. It may be a symbolic link, also one that is
	// pointed elsewhere later. It may be missing when the source is made; Fetch then fails with PathNotFound.
	Root string
	// Path is the sub-folder of Root to use, with slashes. Default "" is Root itself. It can't leave Root.
	Path string
	// CacheDir is where copies are kept, owned by this source alone and outside of Root. Required.
	CacheDir string
	// Ignore lists base-name patterns (path.Match) of files and folders that are not part of the desired state.
	// nil means the default: .git and the swap, lock and backup files that vim and emacs put beside a file.
	Ignore []string
	// Limits bound the tree. Zero values mean the defaults.
	Limits Limits
	// Quiet is how long the folder must be unchanged before Changes rings. Default 15 ms; 0 means the default.
	Quiet time.Duration
	// MaxWait is how long Changes is held back at most while the folder keeps changing. Default 150 ms; 0 means
	// the default.
	MaxWait time.Duration
	// Logger gets a warning when watching is not possible. nil discards.
	Logger *slog.Logger
}

// DefaultDirConfig returns a configuration that lacks only Root and CacheDir.
func DefaultDirConfig() DirConfig { return DirConfig{}.withDefaults() }

func (c DirConfig) withDefaults() DirConfig {
	if c.Ignore == nil {
		c.Ignore = []string{".git", ".*.sw?", "4913", "*~", ".#*", "#*#"}
	}
	if c.Quiet == 0 {
		c.Quiet = 15 * time.Millisecond
	}
	if c.MaxWait == 0 {
		c.MaxWait = 150 * time.Millisecond
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Limits = c.Limits.withDefaults()
	return c
}

// Validate returns all problems joined. It looks at the text only, not at the disk.
func (c DirConfig) Validate() error {
	errs := []error{c.Limits.Validate()}
	if c.Root == "" {
		errs = append(errs, errors.New("root: name the folder that holds the desired state"))
	}
	if err := localPath(c.Path); err != nil {
		errs = append(errs, err)
	}
	switch {
	case c.CacheDir == "":
		errs = append(errs, errors.New("cacheDir: name a folder for the copies"))
	case c.Root != "" && within(c.CacheDir, c.Root):
		errs = append(errs, fmt.Errorf("cacheDir: %s lies inside root %s; every copy would be a change", c.CacheDir, c.Root))
	}
	for _, p := range c.Ignore {
		if _, err := path.Match(p, ""); err != nil || p == "" || strings.Contains(p, "/") {
			errs = append(errs, fmt.Errorf("ignore: %q is no pattern for a base name", p))
		}
	}
	if c.Quiet < 0 || c.MaxWait < 0 || c.MaxWait > 0 && c.MaxWait < c.Quiet {
		errs = append(errs, fmt.Errorf("quiet: %s and maxWait %s must be positive, and maxWait not the smaller one", c.Quiet, c.MaxWait))
	}
	return errors.Join(errs...)
}

// ignored reports whether a base name is not part of the desired state.
func (c DirConfig) ignored(base string) bool {
	for _, p := range c.Ignore {
		if ok, _ := path.Match(p, base); ok {
			return true
		}
	}
	return false
}

// localPath accepts "" and slash-separated paths that stay below their start.
func localPath(p string) error {
	if p != "" && !filepath.IsLocal(filepath.FromSlash(p)) {
		return fmt.Errorf("path: %q must be a relative path that stays inside the repository", p)
	}
	return nil
}

// within reports whether child is parent or lies below it, links resolved as far as the paths exist.
func within(child, parent string) bool {
	rel, err := filepath.Rel(resolve(parent), resolve(child))
	return err == nil && filepath.IsLocal(rel)
}

// resolve follows the links of the longest part of p that exists.
func resolve(p string) string {
	abs, err := filepath.Abs(p)
	if err != nil {
		return p
	}
	if target, err := filepath.EvalSymlinks(abs); err == nil {
		return target
	}
	if dir := filepath.Dir(abs); dir != abs {
		return filepath.Join(resolve(dir), filepath.Base(abs))
	}
	return abs
}
