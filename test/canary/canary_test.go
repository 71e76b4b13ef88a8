package canary_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/test/canary"
)

func all() []canary.Secret {
	return []canary.Secret{canary.Word("word"), canary.Nasty("nasty"), canary.Key("key")}
}

func has(hits []canary.Hit, name string) bool {
	return slices.ContainsFunc(hits, func(h canary.Hit) bool { return h.Secret == name })
}

// disguises are values as programs write them, made without the package's own forms.
func disguises(value string) map[string]string {
	quoted, _ := json.Marshal(value)
	texts := map[string]string{
		"raw": value, "JSON": string(quoted), "Go": fmt.Sprintf("%q", value), "ASCII": fmt.Sprintf("%+q", value),
		"hex": fmt.Sprintf("%x", "ab"+value), "HEX": fmt.Sprintf("%X", value+"ab"),
		"query": url.Values{"a": {value}}.Encode(), "path": "/x/" + url.PathEscape(value), "folded": strings.Join(strings.Fields(value), " "),
		"terminal": strings.ReplaceAll(value, "\n", "\r\n"), "cut": value[:len(value)*3/4], "tail": value[len(value)/3:],
	}
	for i := range 3 {
		framed := strings.Repeat("x", i) + value + "yz"
		texts[fmt.Sprintf("base64 after %d", i)] = base64.StdEncoding.EncodeToString([]byte(framed))
		texts[fmt.Sprintf("URL base64 after %d", i)] = base64.RawURLEncoding.EncodeToString([]byte(framed))
	}
	return texts
}

// TestScanFinds is the positive control of every search: each value is found in each form.
func TestScanFinds(t *testing.T) {
	secrets := all()
	scanner := canary.New(secrets...)
	for _, s := range secrets {
		for form, text := range disguises(s.Value) {
			if (form == "cut" || form == "tail") && len(s.Cores) == 1 {
				continue // a part of a single word is no longer the word
			}
			hits := scanner.Text("here", "before "+text+" after")
			if !has(hits, s.Name) {
				t.Errorf("%s is not found as %s", s.Name, form)
			}
			for _, hit := range hits {
				if hit.Secret != s.Name || strings.Contains(hit.String(), s.Cores[0]) {
					t.Errorf("as %s: %s", form, hit.Secret)
				}
			}
		}
	}
	if hits := scanner.Text("here", "nothing of it "+canary.Word("other").Value); len(hits) > 0 {
		t.Errorf("found what is not there: %v", hits)
	}
}

// TestScanStreams: what lies across the pieces of a large stream is found, whatever the
// reads are like.
func TestScanStreams(t *testing.T) {
	secret := canary.Key("key")
	scanner := canary.New(secret)
	for _, at := range []int{0, 1<<20 - 100, 1<<20 - 1, 1 << 20, 3<<20 - 50} {
		data := bytes.Repeat([]byte{'x'}, 3<<20+200)
		copy(data[at:], secret.Cores[1])
		for _, r := range []io.Reader{bytes.NewReader(data), iotest.HalfReader(bytes.NewReader(data))} {
			if hits, err := scanner.Stream("stream", r); err != nil || len(hits) != 1 {
				t.Errorf("at %d: %v %v", at, hits, err)
			}
		}
	}
	if _, err := scanner.Stream("stream", iotest.ErrReader(errors.New("broken"))); err == nil {
		t.Error("an error of the stream was swallowed")
	}
}

func TestScanTree(t *testing.T) {
	secret := canary.Word("word")
	scanner := canary.New(secret)
	dir := t.TempDir()
	for name, text := range map[string]string{"a/clean": "x", "a/b/dirty": secret.Value, "left/out": secret.Value} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, secret.Value), 0o700); err != nil {
		t.Fatal(err)
	}
	tree, err := scanner.Tree(dir, func(path string) bool { return filepath.Base(path) == "left" })
	if err != nil || len(tree.Hits) != 2 || tree.Files != 2 {
		t.Errorf("%+v %v", tree, err)
	}
}

// TestGuess is the positive control of the search for weak values: a PIN of its own is
// published in each way.
func TestGuess(t *testing.T) {
	mac := func(key, text string) string {
		m := hmac.New(sha256.New, []byte(key))
		m.Write([]byte(text))
		return hex.EncodeToString(m.Sum(nil))
	}
	sum := func(text string) []byte {
		out := sha256.Sum256([]byte(text))
		return out[:]
	}
	g := canary.Guesser{
		Known: []string{"op://v/i/pin", "node-a"},
		Derive: func(key []byte, value string) []string {
			return []string{"v1:" + hex.EncodeToString(sum("derived "+mac(string(key), value)))}
		},
	}
	ways := map[string]string{
		"0001": hex.EncodeToString(sum("0001")), "0002": "label=" + hex.EncodeToString(sum("0002"))[:16], "0003": base64.StdEncoding.EncodeToString(sum("0003")),
		"0004": mac("", "0004"), "0005": mac(string(make([]byte, 32)), "0005"), "0006": "v1:" + mac("node-a", "0006"),
		"0007": mac("", "op://v/i/pin=0007"), "0008": "x" + hex.EncodeToString(sum("derived "+mac("node-a", "0008"))),
	}
	published := mac("a key of the node's own", "0009") + " " + mac("x", "op://v/i/pin")
	for _, text := range ways {
		published += "\n" + text + " after"
	}
	found := g.Guess(published, canary.PINs())
	if diff := cmp.Diff(slices.Sorted(maps.Keys(ways)), found); diff != "" {
		t.Error(diff)
	}
}
