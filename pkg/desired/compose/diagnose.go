package compose

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"ktrdr.io/fleet/pkg/api"
)

// diagnose finds all reasons why compose-go refused the files. It stops at the first by
// itself, and which one that is depends on map order: so everything that has a name, and
// then each attribute of a service that fails, is loaded alone.
func (l *loading) diagnose(details types.ConfigDetails, cause error) {
	before := len(l.found.problems)
	l.try(details, "", func(doc map[string]any) {
		maps.DeleteFunc(doc, func(section string, _ any) bool { return section != "include" })
	})
	for _, section := range []string{"services", "networks", "volumes", "secrets", "configs", "jobs", "models"} {
		items := l.keys(func(doc map[string]any) map[string]any { return mapping(doc[section]) })
		for _, name := range items {
			l.diagnoseItem(details, section, name)
		}
	}
	if len(l.found.problems) == before {
		l.refused("", cause)
	}
}

// keys collects the keys of a mapping over all documents, sorted.
func (l *loading) keys(of func(doc map[string]any) map[string]any) []string {
	set := map[string]bool{}
	for _, doc := range l.plainDocuments() {
		for key := range of(doc) {
			set[key] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func (l *loading) diagnoseItem(details types.ConfigDetails, section, name string) {
	// What a service extends is not there when it is alone: that is another test.
	alone := func(keep func(key string) bool) func(map[string]any) {
		return func(doc map[string]any) {
			item, ok := mapping(doc[section])[name]
			maps.DeleteFunc(mapping(item), func(key string, _ any) bool { return !keep(key) })
			clear(doc)
			if ok {
				doc[section] = map[string]any{name: item}
			}
		}
	}
	path := section + "." + name
	whole := l.attempt(details, alone(func(key string) bool { return key != "extends" }))
	if whole == nil {
		return
	}
	before := len(l.found.problems)
	if section == "services" {
		keys := l.keys(func(doc map[string]any) map[string]any { return mapping(mapping(doc[section])[name]) })
		for _, key := range slices.DeleteFunc(keys, func(key string) bool { return key == "extends" }) {
			l.try(details, path+"."+key, alone(func(k string) bool { return k == key }))
		}
	}
	if len(l.found.problems) == before {
		l.refused(path, whole)
	}
}

// try reports what a part of the files fails with.
func (l *loading) try(details types.ConfigDetails, path string, prune func(map[string]any)) {
	if err := l.attempt(details, prune); err != nil {
		l.refused(path, err)
	}
}

// attempt loads the files after prune took parts out of each document.
func (l *loading) attempt(details types.ConfigDetails, prune func(map[string]any)) error {
	if l.ctx.Err() != nil {
		return nil //nolint:nilerr // a cancelled load ends with the context's error, whatever was found
	}
	details.ConfigFiles = nil
	details.Environment = maps.Clone(details.Environment)
	for _, doc := range l.plainDocuments() {
		prune(doc)
		if len(doc) > 0 {
			details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: l.main[0].Filename, Config: doc})
		}
	}
	if len(details.ConfigFiles) == 0 {
		return nil
	}
	// A second document keeps compose-go from calling a part "empty".
	details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{
		Filename: l.main[0].Filename, Config: map[string]any{"name": l.req.Project},
	})
	_, err := l.load(details)
	return err
}

// plainDocuments decodes the staged files anew, because loading changes what it is given.
func (l *loading) plainDocuments() []map[string]any {
	var out []map[string]any
	for _, file := range l.main {
		docs, err := documents(file.Content)
		if err != nil {
			continue
		}
		for _, doc := range docs {
			dropResets(resolved(doc), 0)
			var value map[string]any
			if doc.Decode(&value) == nil && value != nil {
				out = append(out, value)
			}
		}
	}
	return out
}

func mapping(v any) map[string]any {
	m, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	return m
}

var (
	modelPath  = regexp.MustCompile(`\b(?:services|networks|volumes|configs|secrets|jobs|models|include)(?:\.[A-Za-z0-9_.\-\[\]]+)+`)
	quoted     = regexp.MustCompile(`service "([^"]+)"`)
	circular   = regexp.MustCompile(`^Circular reference: (\S+) in `)
	decodePath = regexp.MustCompile(`'(services|networks|volumes|configs|secrets)\[([^\]]+)\]([^']*)' (.*)`)
)

// refused reports an error of compose-go. at is where it is known to be from; the text
// may give away a place below.
func (l *loading) refused(at string, err error) {
	text := err.Error()
	for file, kept := range l.copies {
		text = strings.ReplaceAll(text, file, kept.name)
	}
	if l.temp != "" {
		text = strings.ReplaceAll(text, l.temp+string(filepath.Separator), "")
	}
	text = api.Display(l.refs.show(text))
	if strings.HasPrefix(text, "decoding failed") && l.undecodable(text) {
		return
	}
	text = strings.Join(strings.Fields(text), " ")
	found := strings.TrimRight(modelPath.FindString(text), ".")
	if m := circular.FindStringSubmatch(text); m != nil {
		found = "services." + m[1] + ".extends"
	} else if m := quoted.FindStringSubmatch(text); found == "" && m != nil {
		found = "services." + m[1]
	}
	if strings.HasPrefix(found, at) {
		at = strings.ReplaceAll(found, ".[]", "")
		text = strings.TrimPrefix(text, found+": ")
	}
	l.found.errorf(at, "%s", text)
}

// undecodable splits what compose-go's decoder joins, one line for each value.
func (l *loading) undecodable(text string) bool {
	matches := decodePath.FindAllStringSubmatch(text, -1)
	for _, m := range matches {
		l.found.errorf(m[1]+"."+m[2]+m[3], "%s", m[4])
	}
	return len(matches) > 0
}
