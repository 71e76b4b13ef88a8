package secretstest

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

// Shown is everything that formatters, encoders and loggers make of things: tests search
// it for values. Encoders that refuse a thing are represented by their error.
func Shown(things ...any) []string {
	var shown []string
	for _, thing := range things {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%10.3v", "%!", "%c", "%U", "%e", "%b"} {
			shown = append(shown, fmt.Sprintf(verb, thing)) //nolint:govet // wrong verbs are the point
		}
		shown = append(shown, fmt.Sprint(thing), fmt.Sprintln(thing),
			fmt.Errorf("wrap: %w", errors.Join(fmt.Errorf("%v", thing))).Error(), cmp.Diff(thing, nil))
		shown = append(shown, encoded(thing)...)
		shown = append(shown, logged(thing)...)
	}
	return shown
}

func encoded(thing any) []string {
	var shown []string
	for _, marshal := range []func(any) ([]byte, error){
		json.Marshal, yaml.Marshal, xml.Marshal,
		func(v any) ([]byte, error) { return json.MarshalIndent(v, "", " ") },
		func(v any) ([]byte, error) {
			var out bytes.Buffer
			err := gob.NewEncoder(&out).Encode(v)
			return out.Bytes(), err
		},
	} {
		shown = append(shown, attempt(marshal, thing))
	}
	return shown
}

func attempt(marshal func(any) ([]byte, error), thing any) (text string) {
	// gob and xml panic on some kinds; what they say then counts as well.
	defer func() {
		if said := recover(); said != nil {
			text = fmt.Sprint(said)
		}
	}()
	data, err := marshal(thing)
	return string(data) + fmt.Sprint(err)
}

func logged(thing any) []string {
	var plain, object bytes.Buffer
	options := &slog.HandlerOptions{AddSource: true, Level: slog.LevelDebug}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&plain, options), slog.NewJSONHandler(&object, options)} {
		slog.New(handler).With("with", thing).WithGroup("group").Error("message", slog.Any("thing", thing), slog.Any("list", []any{thing}))
	}
	return []string{plain.String(), object.String()}
}
