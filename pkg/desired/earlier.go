package desired

import (
	"bytes"
	"path"
	"regexp"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

// OpenFiles prepares a look at files that are not in the tree at root, such as those of earlier
// commits. What the plaintextAllowed of root let be is let be in them.
func OpenFiles(root string) (*FileScan, error) {
	t, err := openRepository(root)
	if err != nil {
		return nil, err
	}
	return &FileScan{tree: t}, nil
}

// Close closes the tree.
func (s *FileScan) Close() error { return s.tree.close() }

// File returns the secrets in plain text of one file, by the rules of CheckFiles, and by those
// of Validate as far as they need no other file: variables and env files, and what Compose
// files say about containers. A file that can't be parsed is looked at as text.
func (s *FileScan) File(name string, data []byte) []Problem {
	const advice = "deleting it later leaves it in the history: take it out of that commit, or make one new commit of all (git reset --soft, git commit), or "
	out := s.texts(name, data, advice)
	if len(data) > maxFileBytes || invalidUTF8(data) >= 0 {
		return out
	}
	for _, v := range namedValues(name, data) {
		fault := v.fault()
		if fault == "" || s.allows(path.Base(name)) || v.name != "" && s.allows(v.name) {
			continue
		}
		fault, _, _ = strings.Cut(fault, ":")
		if slices.ContainsFunc(out, func(p Problem) bool { return p.Line == v.at.Line && p.Path == "" }) {
			continue // told as a text
		}
		v.at.Message = fault + ": " + advice + "list " + v.listed(name) + " in plaintextAllowed if it is none"
		if out = append(out, v.at); len(out) >= maxPlaintexts {
			break
		}
	}
	return out
}

// namedValue is a value with the name that says what it is, or "".
type namedValue struct {
	name, value string
	at          Problem
}

func (v namedValue) fault() string { return plaintextFault(v.name, v.value) }

// listed is what lets the value be.
func (v namedValue) listed(file string) string {
	if v.name == "" {
		return path.Base(file)
	}
	return v.name
}

var (
	// namedPath are the places of YAML files whose key names the value.
	namedPath = regexp.MustCompile(`(?:^|\.)(?:environment|variables|logging\.options)\.([^.\[\]]+)$`)
	// listPath are those with texts NAME=value.
	listPath = regexp.MustCompile(`(?:^|\.)environment\[\d+\]$`)
	// textPath are those with texts that no name says anything about.
	textPath = regexp.MustCompile(`^services\..+\.(?:command|entrypoint|test|labels)(?:$|[.\[])|^configs\..+\.content$`)
)

// namedValues are the values of a file that Validate would look at.
func namedValues(name string, data []byte) []namedValue {
	switch path.Ext(name) {
	case ".env":
		return envValues(name, data)
	case ".yaml", ".yml":
	default:
		return nil
	}
	index, err := yamlpos.Parse(name, data)
	if err != nil {
		return nil
	}
	var out []namedValue
	for scalar := range index.Scalars() {
		line, column := index.At(scalar.Path)
		v := namedValue{value: scalar.Value, at: Problem{File: name, Line: line, Column: column, Path: scalar.Path}}
		switch found := namedPath.FindStringSubmatch(scalar.Path); {
		case scalar.Tag == "!!null":
			continue
		case found != nil:
			v.name = found[1]
		case listPath.MatchString(scalar.Path):
			v.name, v.value, _ = strings.Cut(scalar.Value, "=")
		case !textPath.MatchString(scalar.Path):
			continue
		}
		out = append(out, v)
	}
	return out
}

// envValues are the lines NAME=value of an env file.
func envValues(name string, data []byte) []namedValue {
	var out []namedValue
	number := 0
	for line := range bytes.Lines(data) {
		number++
		key, value, ok := strings.Cut(strings.TrimSpace(string(line)), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		key = strings.TrimSpace(strings.TrimPrefix(key, "export "))
		out = append(out, namedValue{key, strings.Trim(strings.TrimSpace(value), `"'`), Problem{File: name, Line: number, Column: 1, Path: key}})
	}
	return out
}
