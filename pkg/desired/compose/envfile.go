package compose

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/compose-spec/compose-go/v2/dotenv"

	"ktrdr.io/fleet/pkg/api"
)

// parseEnvFile adds the variables of an env file to into; names that it uses come from
// get, then from the lines above. A name without a value is an error as it is in a
// Compose file, where docker/compose takes an empty string. Format is "" or "raw".
func parseEnvFile(data []byte, name, format string, into map[string]string, get func(string) (string, bool)) error {
	resolve := func(key string) (string, bool) {
		if value, ok := get(key); ok {
			return value, true
		}
		value, ok := into[key]
		return value, ok
	}
	if err := lineFaults(data, name); err != nil {
		return err
	}
	if format == "raw" {
		return parseRaw(data, name, into, resolve)
	}
	if format != "" && format != dotenv.DotEnv {
		return fmt.Errorf("env file %s: format %q is not known; leave it out or use raw", name, format)
	}
	if err := envFaults(data, name, resolve); err != nil {
		return err
	}
	if err := dotenv.ParseWithFormat(bytes.NewReader(data), name, into, resolve, ""); err != nil {
		return unreadableLine(name, err)
	}
	return nil
}

// lineError is a defect in a file that is not YAML.
type lineError struct {
	file    string
	line    int
	message string
}

func (e *lineError) Error() string { return fmt.Sprintf("%s:%d: %s", e.file, e.line, e.message) }

var dotenvLine = regexp.MustCompile(`line ([0-9]+): (key cannot contain a space|unexpected character|unterminated quoted value)`)

// unreadableLine keeps the kind and the line of a parser's error: its text quotes the
// file, where a value may stand that nobody may see.
func unreadableLine(name string, err error) error {
	m := dotenvLine.FindStringSubmatch(err.Error())
	if m == nil {
		return &lineError{file: name, line: 1, message: "is not a file of KEY=value lines"}
	}
	line, convErr := strconv.Atoi(m[1])
	if convErr != nil {
		line = 1
	}
	return &lineError{file: name, line: line, message: m[2]}
}

// lineFaults looks for what could pass for a placeholder, and for references that can't be
// resolved as they are written. Two halves of a character in two values could make one.
func lineFaults(data []byte, name string) error {
	var errs []error
	for i, line := range strings.Split(string(data), "\n") {
		_, value, _ := strings.Cut(strings.TrimRight(line, "\r"), "=")
		value = strings.Trim(strings.TrimSpace(value), `"'`)
		switch err := api.CheckText(value); {
		case !utf8.ValidString(line):
			errs = append(errs, &lineError{file: name, line: i + 1, message: "is not UTF-8 text"})
		case api.Reserved(line):
			errs = append(errs, &lineError{file: name, line: i + 1, message: api.ErrReserved.Error()})
		case err != nil && !strings.Contains(value, "$") && !strings.HasPrefix(strings.TrimSpace(line), "#"):
			errs = append(errs, &lineError{file: name, line: i + 1, message: err.Error()})
		}
	}
	return errors.Join(errs...)
}

// envFaults looks at the values that the parser would expand: not those in single quotes
// and not comments.
func envFaults(data []byte, name string, resolve func(string) (string, bool)) error {
	above := map[string]string{}
	get := func(key string) (string, bool) {
		if value, ok := resolve(key); ok {
			return value, true
		}
		value, ok := above[key]
		return value, ok
	}
	var errs []error
	for i, line := range strings.Split(string(data), "\n") {
		key, value, found := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		if !found || strings.HasPrefix(key, "#") {
			continue
		}
		value = strings.TrimSpace(value)
		if !strings.HasPrefix(value, "'") {
			if !strings.HasPrefix(value, `"`) {
				value, _, _ = strings.Cut(value, " #")
			}
			for _, f := range faults(value, get) {
				errs = append(errs, &lineError{file: name, line: i + 1, message: f.message})
			}
		}
		above[strings.TrimSpace(key)] = value
	}
	return errors.Join(errs...)
}

// parseRaw takes values as they are. Source: docker/compose registers this format for
// compose-go with docker/cli's kvfile rules.
func parseRaw(data []byte, name string, into map[string]string, resolve func(string) (string, bool)) error {
	read := map[string]string{}
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimLeft(strings.TrimSuffix(line, "\r"), " \t")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, found := strings.Cut(line, "=")
		if key == "" || strings.ContainsAny(key, " \t") {
			return &lineError{file: name, line: i + 1, message: "a variable name can't hold a space"}
		}
		if !found {
			value, found = resolve(key)
		}
		if found {
			read[key] = value
		}
	}
	maps.Copy(into, read)
	return nil
}
