package api_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ktrdr.io/fleet/pkg/api"
)

func TestByteSize(t *testing.T) {
	cases := map[string]int64{
		"0": 0, "1024": 1024, "1b": 1, "1k": 1 << 10, "14336M": 14 << 30, "1.5g": 3 << 29, "2GB": 2 << 30, "1 gb": 1 << 30,
		"3GiB": 3 << 30, "1T": 1 << 40, " 5m ": 5 << 20,
	}
	for text, want := range cases {
		var got api.ByteSize
		if err := got.UnmarshalText([]byte(text)); err != nil || int64(got) != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "m", "12 gigs", "-1", "1e3", "0x10", "inf", "nan", "1_000", "9999999999T", "1kk", "1ib", "1.2.3", "1bm"} {
		var got api.ByteSize
		if err := got.UnmarshalText([]byte(text)); !errors.Is(err, api.ErrByteSize) {
			t.Errorf("%q: %d, %v; want an error", text, got, err)
		}
	}
}

func TestByteSizeForPeople(t *testing.T) {
	for size, want := range map[api.ByteSize]string{
		0: "0 B", 2048: "2 KB", 6144 << 20: "6 GB", 14336 << 20: "14 GB", 1500 << 20: "1500 MB", 11<<30 + 1<<29: "11.5 GB",
	} {
		if got := size.String(); got != want {
			t.Errorf("%d: %s, want %s", size, got, want)
		}
	}
}

func TestQuantitiesSurviveJSON(t *testing.T) {
	type both struct {
		Size api.ByteSize
		Wait api.Duration
	}
	rapid.Check(t, func(r *rapid.T) {
		want := both{
			Size: api.ByteSize(rapid.Int64Range(0, 1<<50).Draw(r, "size")),
			Wait: api.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(r, "wait")),
		}
		data, err := json.Marshal(want)
		if err != nil {
			r.Fatal(err)
		}
		var got both
		if err := json.Unmarshal(data, &got); err != nil || got != want {
			r.Fatalf("%s: %+v, %v", data, got, err)
		}
	})
	var plain both
	if err := json.Unmarshal([]byte(`{"Size": 4096, "Wait": "1m30s"}`), &plain); err != nil || plain.Size != 4096 || time.Duration(plain.Wait) != 90*time.Second {
		t.Errorf("%+v, %v", plain, err)
	}
	for _, text := range []string{`{"Size": true}`, `{"Wait": 10}`, `{"Wait": "-1s"}`, `{"Wait": "soon"}`} {
		if err := json.Unmarshal([]byte(text), &plain); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

func TestRuleCheck(t *testing.T) {
	cases := []struct {
		rule  api.VariableRule
		value string
		want  string
	}{
		{api.VariableRule{}, "x", ""},
		{api.VariableRule{}, "", "must not be empty"},
		{api.VariableRule{Optional: true, MinLength: 3}, "", ""},
		{api.VariableRule{MinLength: 3}, "äöü", ""},
		{api.VariableRule{MinLength: 4}, "canary"[:3], "at least 4 characters"},
		{api.VariableRule{Allowed: []string{"a", "b"}}, "canary", "must be one of a, b"},
		{api.VariableRule{Pattern: "a|b"}, "ab", "must match the pattern a|b"},
		{api.VariableRule{Pattern: "a|b"}, "b", ""},
		{api.VariableRule{Pattern: "("}, "canary", "pattern is invalid"},
	}
	for _, c := range cases {
		err := c.rule.Check(c.value)
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%+v: %v, want %q", c.rule, err, c.want)
		}
	}
}
