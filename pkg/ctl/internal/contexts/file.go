package contexts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/goccy/go-yaml"
)

const (
	apiVersion = "ktrdr.io/v1alpha1"
	kind       = "Config"
	// maxFile bounds what is read of a file, in bytes.
	maxFile = 1 << 20
)

// File is all contexts of an operator, in their order.
type File struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	// Current is the name of the context in use; empty for none.
	Current  string    `yaml:"current,omitempty"`
	Contexts []Context `yaml:"contexts"`
}

// Path is where the file is: $KTRDR_CONFIG, or ktrdr/config in the user's folder for
// configuration. It is empty when neither is known.
func Path(env func(string) string) string {
	if path := env("KTRDR_CONFIG"); path != "" {
		return path
	}
	if dir := env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "ktrdr", "config")
	}
	if home := env("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, ".config", "ktrdr", "config")
	}
	return ""
}

// Load reads the file; one that does not exist is empty. A file that others can read is an
// error.
func Load(path string) (*File, error) {
	if path == "" {
		return New(), nil
	}
	text, err := ReadPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		return New(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read contexts: %w", err)
	}
	f, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("read contexts %s: %w", path, err)
	}
	return f, nil
}

// New is a file without contexts.
func New() *File { return &File{APIVersion: apiVersion, Kind: kind, Contexts: []Context{}} }

// Parse reads a file's text. Errors have the place and never quote from it.
func Parse(text []byte) (*File, error) {
	f := New()
	err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(f)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, withoutText(err)
	}
	if f.APIVersion != apiVersion || f.Kind != kind {
		return nil, fmt.Errorf("write apiVersion: %s and kind: %s", apiVersion, kind)
	}
	for i := range f.Contexts {
		if err := f.Contexts[i].Validate(); err != nil {
			return nil, err
		}
		if f.index(f.Contexts[i].Name) != i {
			return nil, fmt.Errorf("context %s is there twice", f.Contexts[i].Name)
		}
	}
	return f, nil
}

// withoutText says where a mistake is. Messages of the parser quote the line, which may
// hold a token.
func withoutText(err error) error {
	place := "somewhere"
	if e, ok := errors.AsType[yaml.Error](err); ok && e.GetToken() != nil {
		place = fmt.Sprintf("line %d, column %d", e.GetToken().Position.Line, e.GetToken().Position.Column)
	}
	if _, unknown := errors.AsType[*yaml.UnknownFieldError](err); unknown {
		return fmt.Errorf("%s: there is no such field", place)
	}
	return fmt.Errorf("%s: this is not the YAML of a file with contexts", place)
}

// Find returns a context by name, or nil.
func (f *File) Find(name string) *Context {
	if i := f.index(name); i >= 0 {
		return &f.Contexts[i]
	}
	return nil
}

func (f *File) index(name string) int {
	return slices.IndexFunc(f.Contexts, func(c Context) bool { return c.Name == name })
}

// Put adds a context, or replaces the one of the same name.
func (f *File) Put(c Context) {
	if i := f.index(c.Name); i >= 0 {
		f.Contexts[i] = c
		return
	}
	f.Contexts = append(f.Contexts, c)
}

// Remove removes a context and tells whether it was there.
func (f *File) Remove(name string) bool {
	i := f.index(name)
	if i < 0 {
		return false
	}
	f.Contexts = slices.Delete(f.Contexts, i, i+1)
	if f.Current == name {
		f.Current = ""
	}
	return true
}

// Names are the names of all contexts.
func (f *File) Names() []string {
	names := make([]string, 0, len(f.Contexts))
	for i := range f.Contexts {
		names = append(names, f.Contexts[i].Name)
	}
	return names
}

// Text is the file as Parse reads it.
func (f *File) Text() ([]byte, error) {
	text, err := yaml.Marshal(f)
	if err != nil {
		return nil, errors.New("encode contexts")
	}
	return text, nil
}

// Save writes the file for its owner alone, as a whole or not at all.
func (f *File) Save(path string) error {
	if path == "" {
		return errors.New("save contexts: neither KTRDR_CONFIG nor HOME says where")
	}
	text, err := f.Text()
	if err != nil {
		return err
	}
	// A link to a file elsewhere stays one.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("save contexts: %w", err)
	}
	if err := WritePrivate(path, text); err != nil {
		return fmt.Errorf("save contexts: %w", err)
	}
	return nil
}
