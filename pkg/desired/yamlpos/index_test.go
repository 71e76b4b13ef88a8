package yamlpos_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/desired/yamlpos"
)

const sample = `x-env: &env
  A: one
  B: two
services:
  db:
    image: postgres
    ports:
      - "1:1"
      - target: 5
    environment:
      <<: *env
      B: three
    labels: {com.example.a: "x"}
  web: &web
    image: web
  copy: *web
---
name: late
`

func TestAt(t *testing.T) {
	x, err := yamlpos.Parse("f.yaml", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":                                   "1:1",
		"services":                           "4:1",
		"services.db.image":                  "6:5",
		"services.db.ports[0]":               "8:9",
		"services.db.ports[1].target":        "9:9",
		"services.db.ports[7].target":        "7:5",
		"services.db.environment.A":          "2:3",
		"services.db.environment.B":          "12:7",
		"services.db.environment.C":          "10:5",
		"services.db.labels.com.example.a":   "13:14",
		"services.db.labels.com.example.a.b": "13:14",
		"services.copy.image":                "15:5",
		"services.nobody.image":              "4:1",
		"name":                               "18:1",
		"elsewhere[3].deep":                  "1:1",
	} {
		line, column := x.At(path)
		if got := fmt.Sprintf("%d:%d", line, column); got != want {
			t.Errorf("At(%q) = %s, want %s", path, got, want)
		}
	}
	if !x.Has("services.copy.image") || x.Has("services.copy.ports") {
		t.Error("Has must know what is there and nothing else")
	}
}

func TestScalars(t *testing.T) {
	x, err := yamlpos.Parse("f.yaml", []byte("a: ${X}\nb: [1, ~]\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []yamlpos.Scalar
	for s := range x.Scalars() {
		got = append(got, s)
	}
	want := []yamlpos.Scalar{
		{Path: "a", Value: "${X}", Tag: "!!str", Line: 1, Column: 4},
		{Path: "b[0]", Value: "1", Tag: "!!int", Line: 2, Column: 5},
		{Path: "b[1]", Value: "~", Tag: "!!null", Line: 2, Column: 8},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseErrors(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'j'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n",
			c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	for name, test := range map[string]struct {
		in   string
		want []string
	}{
		"syntax":     {"a: 1\nb: [1\nc: 2\n", []string{"f.yaml:2:2: invalid YAML: while parsing a flow sequence did not find"}},
		"tab":        {"a:\n\tb: 1\n", []string{"f.yaml:2:"}},
		"duplicates": {"a: 1\nb:\n  c: 1\n  c: 2\na: 3\n", []string{"f.yaml:4:3: b.c: key \"c\" is there twice", "f.yaml:5:1: a: key \"a\" is there twice"}},
		"bomb":       {bomb, []string{"more than 200000 values"}},
		"endless":    {"a: &a\n  b: *a\n", []string{"nested deeper than 200 levels"}},
		"deep":       {strings.Repeat("[", 500) + strings.Repeat("]", 500), []string{"nested deeper than 200 levels"}},
		"merge":      {"a:\n  <<: 3\n", []string{"f.yaml:2:7: a: a merge key needs a mapping"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := yamlpos.Parse("f.yaml", []byte(test.in))
			var all *yamlpos.Error
			if !errors.As(err, &all) || len(all.Problems) != len(test.want) {
				t.Fatalf("got %v, want %d problems", err, len(test.want))
			}
			for i, want := range test.want {
				if !strings.Contains(all.Problems[i].String(), want) {
					t.Errorf("problem %d is %q, want %q in it", i, all.Problems[i], want)
				}
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("<<: [*x]\n? [a]\n: b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			t.Skip()
		}
		x, err := yamlpos.Parse("f", data)
		if (x == nil) == (err == nil) {
			t.Fatal("exactly one of index and error")
		}
		if x == nil {
			return
		}
		for s := range x.Scalars() {
			if line, column := x.At(s.Path); line < 1 || column < 1 {
				t.Fatalf("%q at %d:%d", s.Path, line, column)
			}
		}
	})
}
