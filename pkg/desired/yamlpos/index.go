package yamlpos

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Limits of one file. Real files stay far below; an alias bomb reaches them at once.
const (
	MaxNodes = 200_000
	MaxDepth = 200
)

// Index knows where every value of one file stands. It is immutable and safe for
// concurrent use.
type Index struct {
	file    string
	at      map[string]position
	scalars []Scalar
	docs    int
}

type position struct{ line, column int }

// Scalar is one string, number, boolean or null as it is written. Values behind an alias
// or a merge key appear once for each path, with the place of the anchored text.
type Scalar struct {
	Path         string
	Value        string
	Tag          string // "!!str", "!!int", "!!null", …
	Line, Column int
}

// Problem is one defect of a YAML file. Lines and columns count from 1.
type Problem struct {
	File         string
	Line, Column int
	Path         string
	Message      string
}

func (p Problem) String() string {
	place := fmt.Sprintf("%s:%d:%d: ", p.File, max(p.Line, 1), max(p.Column, 1))
	if p.Path != "" {
		place += p.Path + ": "
	}
	return place + p.Message
}

// Error holds all syntax errors and duplicate keys that were found.
type Error struct{ Problems []Problem }

// Error prints one "file:line:column: path: message" per line.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Parse reads all documents of a file. A later document hides the places of an earlier
// one, as Compose merges them. The error is *Error: the first syntax error (the parser
// stops there), or all duplicate keys, or that the file is too large or too deep.
func Parse(file string, data []byte) (*Index, error) {
	x := &Index{file: file, at: map[string]position{"": {1, 1}}}
	b := &builder{index: x}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			line, column, message := locate(err)
			b.problem(line, column, "", message)
			break
		}
		x.docs++
		b.walk("", &doc, 0)
	}
	if len(b.problems) > 0 {
		return nil, &Error{Problems: b.problems}
	}
	return x, nil
}

// File is the name that was given to Parse.
func (x *Index) File() string { return x.file }

// At returns the place of a path such as "services.db.ports[0]", counted from 1. For a
// key of a mapping it is the key, for an item of a sequence the item. A path that the
// file does not have gives the place of its nearest known ancestor.
func (x *Index) At(path string) (line, column int) {
	for {
		if p, ok := x.at[path]; ok {
			return p.line, p.column
		}
		path = parent(path)
	}
}

// Has tells whether the file has the path itself.
func (x *Index) Has(path string) bool {
	_, ok := x.at[path]
	return ok
}

// Scalars yields all scalars in the order of the file.
func (x *Index) Scalars() iter.Seq[Scalar] { return slices.Values(x.scalars) }

func parent(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// Child returns the path of a key below path.
func Child(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// Item returns the path of an item of the sequence at path.
func Item(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

var place = regexp.MustCompile(`(?:\bat )?\bline (\d+)(?:, column (\d+))?:? ?`)

// locate takes the place out of the parser's message, where alone it is.
func locate(err error) (line, column int, message string) {
	message = strings.TrimPrefix(err.Error(), "yaml: ")
	for _, found := range place.FindAllStringSubmatch(message, -1) {
		line, _ = strconv.Atoi(found[1])
		column, _ = strconv.Atoi(found[2])
	}
	message = strings.TrimSpace(place.ReplaceAllString(message, ""))
	return line, column, "invalid YAML: " + strings.Join(strings.Fields(message), " ")
}
