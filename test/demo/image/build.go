package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// programPackage is what is compiled into the images.
const programPackage = "ktrdr.io/fleet/test/demo/ktrdrsim"

// Options say where the images go and what they are.
type Options struct {
	// Host is the engine, such as unix:///var/run/docker.sock; empty means DefaultHost.
	Host string
	// Specs are the images; nil means Catalog().
	Specs []Spec
	// Program is a ready linux executable for the engine's architecture; empty means that it is compiled, which needs
	// the go command and a working directory inside this module.
	Program string
}

// Built is one image as the engine has it.
type Built struct {
	Tags []string
	ID   string
}

// Build makes the images and returns what was read back from the engine. It returns an error and loads nothing when a tag
// names an image that this package did not make. Engine API: POST /images/load.
func Build(ctx context.Context, opts Options) ([]Built, error) {
	e, specs, err := opts.resolve()
	if err != nil {
		return nil, err
	}
	arch, err := e.architecture(ctx)
	if err != nil {
		return nil, err
	}
	for _, spec := range specs {
		for _, tag := range spec.Tags {
			if err := refuseForeign(ctx, e, tag); err != nil {
				return nil, err
			}
		}
	}
	program, err := readProgram(ctx, opts.Program, arch)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	if err := WriteArchive(&archive, Platform{Architecture: arch}, program, specs); err != nil {
		return nil, err
	}
	if err := e.load(ctx, &archive); err != nil {
		return nil, err
	}
	return readBack(ctx, e, specs)
}

// Remove takes away every tag of our images in the repositories that the specs name, with tags that earlier builds added.
// Foreign images are left as they are. It returns the tags that it removed. Engine API: DELETE /images/{name}.
func Remove(ctx context.Context, opts Options) ([]string, error) {
	e, specs, err := opts.resolve()
	if err != nil {
		return nil, err
	}
	tags, err := e.ownTags(ctx)
	if err != nil {
		return nil, err
	}
	slices.Sort(tags)
	var removed []string
	var problems []error
	for _, tag := range tags {
		if !inRepositoriesOf(specs, tag) {
			continue
		}
		if err := e.remove(ctx, tag); err != nil && !errors.Is(err, errNotFound) {
			problems = append(problems, fmt.Errorf("remove image %s: %w", tag, err))
			continue
		}
		removed = append(removed, tag)
	}
	return removed, errors.Join(problems...)
}

func inRepositoriesOf(specs []Spec, tag string) bool {
	for _, spec := range specs {
		if slices.ContainsFunc(spec.Tags, func(own string) bool { return repository(own) == repository(tag) }) {
			return true
		}
	}
	return false
}

// repository is a reference without its tag; a colon before the last slash belongs to a port.
func repository(ref string) string {
	if colon := strings.LastIndexByte(ref, ':'); colon > strings.LastIndexByte(ref, '/') {
		return ref[:colon]
	}
	return ref
}

func (o Options) resolve() (*engine, []Spec, error) {
	e, err := dial(o.Host)
	if err != nil {
		return nil, nil, err
	}
	if o.Specs == nil {
		return e, Catalog(), nil
	}
	return e, o.Specs, nil
}

// refuseForeign protects an image of the user: loading an archive would move its tag in silence.
func refuseForeign(ctx context.Context, e *engine, tag string) error {
	found, err := e.inspect(ctx, tag)
	switch {
	case errors.Is(err, errNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("look for image %s: %w", tag, err)
	case !found.ours():
		return fmt.Errorf("image %s exists and is no demonstration image; remove or rename it first", tag)
	default:
		return nil
	}
}

func readBack(ctx context.Context, e *engine, specs []Spec) ([]Built, error) {
	var all []Built
	for _, spec := range specs {
		built := Built{Tags: spec.Tags}
		for _, tag := range spec.Tags {
			found, err := e.inspect(ctx, tag)
			if err != nil {
				return nil, fmt.Errorf("read back image %s: %w", tag, err)
			}
			if built.ID != "" && built.ID != found.ID {
				return nil, fmt.Errorf("tags %v name different images", spec.Tags)
			}
			built.ID = found.ID
		}
		all = append(all, built)
	}
	return all, nil
}

// readProgram returns the executable at path, or compiles it.
func readProgram(ctx context.Context, path, arch string) ([]byte, error) {
	if path == "" {
		dir, err := os.MkdirTemp("", "ktrdrsim-")
		if err != nil {
			return nil, fmt.Errorf("make build directory: %w", err)
		}
		defer os.RemoveAll(dir)
		path = filepath.Join(dir, "ktrdrsim")
		if err := Compile(ctx, path, arch); err != nil {
			return nil, err
		}
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read program: %w", err)
	}
	return program, nil
}

// Compile builds the static program for linux and arch (Go's word, such as arm64) at path, without anything in it that
// differs between two machines.
func Compile(ctx context.Context, path, arch string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", //nolint:gosec // fixed words, a path and an architecture, no shell.
		"-o", path, programPackage)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s for linux/%s: %w\n%s", programPackage, arch, err, bytes.TrimSpace(out))
	}
	return nil
}
