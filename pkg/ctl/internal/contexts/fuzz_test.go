package contexts_test

import (
	"reflect"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/ctl/internal/contexts"
)

// FuzzParse reads anything as a file with contexts: what is accepted is written and read alike,
// and what is refused is not quoted, because it may hold a token.
func FuzzParse(f *testing.F) {
	const head = "apiVersion: ktrdr.io/v1alpha1\nkind: Config\n"
	for _, seed := range []string{
		"", head, head + "current: home\ncontexts:\n- {name: home, controller: 'https://h', authority: eA==, token: planted-canary}\n",
		head + "contexts: [{name: n, agent: 'unix:///x'}]\n", head + "contexts: [null]\n", "- planted-canary\n", head + "token: planted-canary\n", "\x00", "a: &a [*a]\n",
		head + "contexts: [{name: planted-canary/}]\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := contexts.Parse(data)
		if err != nil {
			if strings.Contains(string(data), "token: planted-canary") && strings.Contains(err.Error(), "planted-canary") {
				t.Fatalf("the error quotes the file: %v", err)
			}
			return
		}
		text, err := file.Text()
		if err != nil {
			t.Fatal(err)
		}
		again, err := contexts.Parse(text)
		if err != nil {
			t.Fatalf("%v; written as:\n%s", err, text)
		}
		for i := range file.Contexts {
			if !reflect.DeepEqual(file.Contexts[i], again.Contexts[i]) {
				t.Fatalf("%+v became %+v", file.Contexts[i], again.Contexts[i])
			}
		}
	})
}
