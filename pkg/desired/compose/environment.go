package compose

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strconv"

	"github.com/compose-spec/compose-go/v2/types"
)

// environment merges env_file and environment as docker/compose does: files in their
// order, later ones win, environment wins over all. A key without a value takes the
// stack's variable of that name, or removes the image's.
func (m *mapper) environment(s *types.ServiceConfig) []string {
	own := types.MappingWithEquals{}
	maps.Copy(own, s.Environment)
	own.Resolve(m.variables.get)
	merged := map[string]string{}
	for key, value := range own {
		if value != nil {
			merged[key] = *value
		}
	}
	get := func(name string) (string, bool) {
		if value, ok := m.variables.get(name); ok {
			return value, true
		}
		if value, ok := own[name]; ok && value != nil {
			return *value, true
		}
		return "", false
	}
	for i, file := range s.EnvFiles {
		m.envFile(at(s.Name)+".env_file["+strconv.Itoa(i)+"]", file, merged, get)
	}
	all := types.MappingWithEquals{}
	for key, value := range merged {
		value = literal(value)
		all[key] = &value
	}
	maps.Copy(all, own)
	return m.pairs(all)
}

func (m *mapper) envFile(path string, file types.EnvFile, into map[string]string, get func(string) (string, bool)) {
	if clean, err := inside(file.Path); err == nil && !bool(file.Required) {
		if _, err := m.repo.stat(clean); errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
	data, ok := m.readable(path, file.Path)
	if !ok {
		return
	}
	if err := parseEnvFile(data, file.Path, file.Format, into, get); err != nil {
		m.found.fail(path, err)
	}
}

// readable reads a file of the repository that the model names.
func (m *mapper) readable(path, file string) ([]byte, bool) {
	if written, home := m.fromHome(file); home {
		m.found.errorf(path, "%s is in a home directory: only files of the repository are read", written)
		return nil, false
	}
	data, err := m.repo.file(file)
	if err != nil {
		m.found.errorf(path, "%v", err)
		return nil, false
	}
	return data, true
}

// pairs writes KEY=value, or KEY alone, sorted.
func (m *mapper) pairs(env types.MappingWithEquals) []string {
	var out []string
	for key, value := range env {
		if value == nil {
			if resolved, ok := m.variables.get(key); ok {
				value = &resolved
			}
		}
		if value == nil {
			out = append(out, key)
			continue
		}
		out = append(out, key+"="+*value)
	}
	slices.Sort(out)
	return out
}

// labels merges label_file and labels; labels win.
func (m *mapper) labels(s *types.ServiceConfig) map[string]string {
	merged := map[string]string{}
	for i, file := range s.LabelFiles {
		path := at(s.Name) + ".label_file[" + strconv.Itoa(i) + "]"
		data, ok := m.readable(path, file)
		if !ok {
			continue
		}
		nothing := func(string) (string, bool) { return "", false }
		if err := parseEnvFile(data, file, "", merged, nothing); err != nil {
			m.found.fail(path, err)
		}
	}
	maps.Copy(merged, s.Labels)
	return texts(merged)
}
