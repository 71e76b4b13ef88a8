package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// codec is the format of a record's value.
type codec[T any] struct {
	encode func(T) ([]byte, error)
	decode func([]byte) (T, error)
}

// jsonCodec is one JSON object. Unknown fields are refused: a controller that is older than
// what it reads could miss a restriction, and would drop the field with its next write.
func jsonCodec[T any]() codec[T] {
	return codec[T]{
		encode: func(v T) ([]byte, error) { return json.Marshal(v) },
		decode: func(raw []byte) (T, error) { return strict[T](raw) },
	}
}

// framedCodec is one line of JSON and then bytes as they are: large opaque parts neither
// grow by base64 nor cost a JSON parser. data is the field, which JSON leaves out.
func framedCodec[T any](data func(*T) *[]byte) codec[T] {
	return codec[T]{
		encode: func(v T) ([]byte, error) {
			head, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			return append(append(head, '\n'), *data(&v)...), nil
		},
		decode: func(raw []byte) (T, error) {
			head, rest, found := bytes.Cut(raw, []byte{'\n'})
			v, err := strict[T](head)
			if err == nil && !found {
				err = fmt.Errorf("%w: no data after the first line", ErrInvalid)
			}
			if err == nil {
				*data(&v) = rest
			}
			return v, err
		},
	}
}

func strict[T any](raw []byte) (T, error) {
	var v T
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&v); err != nil {
		if strings.Contains(err.Error(), "unknown field") {
			return v, fmt.Errorf("%w: %w", ErrNewer, err)
		}
		return v, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if decoder.More() {
		return v, fmt.Errorf("%w: more after the record's end", ErrInvalid)
	}
	return v, nil
}
