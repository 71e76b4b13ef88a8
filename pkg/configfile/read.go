package configfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/goccy/go-yaml"
)

// maxSize bounds a file, in bytes.
const maxSize = 1 << 20

// InvalidCode (EX_CONFIG of sysexits.h) is how a program ends whose configuration is invalid: its
// unit does not try it again before somebody corrects the file.
const InvalidCode = 78

// Config is what can be read from a file.
type Config interface {
	// Validate joins all problems.
	Validate() error
}

// Read reads a file into cfg, which has the defaults, and validates it. Unknown keys are
// errors. An error says whether the file was not read or is Invalid.
func Read(path string, cfg Config) error {
	data, err := load(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var something any
	if err := yaml.Unmarshal(data, &something); err != nil {
		return fmt.Errorf("%s: %s", path, yaml.FormatError(err, false, true))
	}
	if something != nil { // a file with nothing but comments would take the defaults away
		if err := yaml.UnmarshalWithOptions(data, cfg, yaml.Strict()); err != nil {
			return fmt.Errorf("%s: %s", path, yaml.FormatError(err, false, true))
		}
	}
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func load(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxSize {
		return nil, fmt.Errorf("%s: more than %d bytes are no configuration", path, maxSize)
	}
	return data, nil
}

// Invalid tells whether an error of Read is about what the file says, which only a person can
// mend, and not about a file that could not be read, which may be over in a moment.
func Invalid(err error) bool {
	_, unread := errors.AsType[*fs.PathError](err)
	return err != nil && !unread
}
