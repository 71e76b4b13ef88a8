package parity_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/test/parity"
	"ktrdr.io/fleet/test/parity/recorder"
)

// row is a line of the table of docs/compose-differences.md: | `name` | reason |.
var row = regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (.*) \\|$")

// TestDocsListTheRules wants code and documentation to name the same differences.
func TestDocsListTheRules(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "compose-differences.md"))
	if err != nil {
		t.Fatal(err)
	}
	var documented, coded []string
	for _, match := range row.FindAllStringSubmatch(string(data), -1) {
		documented = append(documented, match[1]+": "+match[2])
	}
	for _, rule := range parity.Rules() {
		coded = append(coded, rule.Name+": "+rule.Reason)
	}
	if diff := cmp.Diff(coded, documented); diff != "" {
		t.Errorf("docs/compose-differences.md is not what the rules say (-rules +docs):\n%s", diff)
	}
}

func request(kind, name string, body map[string]any) recorder.Request {
	return recorder.Request{Kind: kind, Name: name, Body: body}
}

type object = map[string]any

func TestCompareFindsDifferences(t *testing.T) {
	base := func() object {
		return object{
			"Image": "a", "Env": []any{"B=1", "A=1"}, "Entrypoint": nil,
			"Labels":     object{"com.docker.compose.version": "5", "own": "x"},
			"HostConfig": object{"Binds": []any{"/a:/a:rw"}, "ShmSize": 0, "Init": false},
		}
	}
	tests := []struct {
		name   string
		change func(object)
		want   []string
	}{
		{"nothing", func(object) {}, nil},
		{"order of a set", func(o object) { o["Env"] = []any{"A=1", "B=1"} }, nil},
		{"zero and absent", func(o object) { delete(o["HostConfig"].(object), "ShmSize"); o["User"] = "" }, nil},
		{"label of ours, version", func(o object) {
			o["Labels"] = object{"com.docker.compose.version": "6", "own": "x", "io.ktrdr.stack": "s"}
		}, nil},
		{"a value", func(o object) { o["Image"] = "b" }, []string{`container c Image: docker compose "a", ours "b"`}},
		{
			"a label", func(o object) { o["Labels"] = object{"own": "x"} },
			[]string{`container c Labels.com.docker.compose.version: docker compose "5", ours null`},
		},
		{"empty entrypoint", func(o object) { o["Entrypoint"] = []any{} }, []string{`container c Entrypoint: docker compose null, ours []`}},
		{"init unset", func(o object) { delete(o["HostConfig"].(object), "Init") }, []string{`container c HostConfig.Init: docker compose false, ours null`}},
		{
			"nested", func(o object) { o["HostConfig"].(object)["Binds"] = []any{"/a:/a:ro"} },
			[]string{`container c HostConfig.Binds: docker compose ["/a:/a:rw"], ours ["/a:/a:ro"]`},
		},
		{"grace, whole seconds", func(o object) { o["StopTimeout"] = 1 }, []string{`container c StopTimeout: docker compose null, ours 1`}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			ours := base()
			tc.change(ours)
			result := parity.Compare([]recorder.Request{request("container", "c", base())}, []recorder.Request{request("container", "c", ours)},
				parity.Facts{Version: "1.51"})
			var got []string
			for _, difference := range result.Differences {
				got = append(got, fmt.Sprint(difference))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCompareMissesNoRequest(t *testing.T) {
	one, two := request("network", "one", object{"Name": "one"}), request("volume", "two", object{"Name": "two"})
	result := parity.Compare([]recorder.Request{one}, []recorder.Request{two}, parity.Facts{Version: "1.51"})
	if len(result.Differences) != 2 || result.Compared != 0 {
		t.Fatalf("got %+v", result)
	}
	if !strings.Contains(result.Differences[0].String(), "ours sends nothing") || !strings.Contains(result.Differences[1].String(), "docker compose sends nothing") {
		t.Errorf("got %v", result.Differences)
	}
	// A refusal explains a missing container, and nothing else.
	facts := parity.Facts{Version: "1.41", Refused: map[string]bool{"c": true}}
	c := request("container", "c", object{"Image": "a"})
	if result := parity.Compare([]recorder.Request{c, one}, nil, facts); len(result.Differences) != 1 {
		t.Errorf("with a refusal: %v", result.Differences)
	}
}
