package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ByteSize is a size in bytes, written with Compose's units (b, k, m, g, kb, mb, gb, all
// powers of 1024): "14336M", "1.5gb" or plain bytes.
type ByteSize int64

// Duration is a time.Duration written as "1m30s".
type Duration time.Duration

// ErrByteSize and ErrDuration say how the value has to be written.
var (
	ErrByteSize = errors.New(`not a size: write bytes or a unit, such as 512M or 1.5G`)
	ErrDuration = errors.New(`not a duration: write a number with its unit, such as 500ms, 10s or 1m30s`)
)

// UnmarshalText reads Compose's notation. The error is ErrByteSize, without the text.
func (s *ByteSize) UnmarshalText(text []byte) error {
	lower := strings.ToLower(strings.TrimSpace(string(text)))
	number := strings.TrimRight(lower, "bikmgt ")
	shift, ok := unitShift(strings.TrimSpace(lower[len(number):]))
	value, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || strings.ContainsAny(number, "exinp_") {
		return ErrByteSize
	}
	bytes := value * float64(int64(1)<<shift)
	if math.IsNaN(bytes) || bytes < 0 || bytes >= math.MaxInt64 {
		return ErrByteSize
	}
	*s = ByteSize(bytes)
	return nil
}

func unitShift(unit string) (int, bool) {
	unit = strings.TrimSuffix(unit, "b")
	switch strings.TrimSuffix(unit, "i") {
	case "":
		return 0, unit == ""
	case "k":
		return 10, true
	case "m":
		return 20, true
	case "g":
		return 30, true
	case "t":
		return 40, true
	}
	return 0, false
}

// MarshalText writes the largest unit that divides the size.
func (s ByteSize) MarshalText() ([]byte, error) {
	units := []struct {
		name  string
		shift int
	}{{"T", 40}, {"G", 30}, {"M", 20}, {"K", 10}}
	for _, unit := range units {
		if s != 0 && s%(1<<unit.shift) == 0 {
			return []byte(strconv.FormatInt(int64(s)>>unit.shift, 10) + unit.name), nil
		}
	}
	return []byte(strconv.FormatInt(int64(s), 10)), nil
}

// UnmarshalJSON reads a number of bytes or Compose's notation in a string.
func (s *ByteSize) UnmarshalJSON(data []byte) error {
	text, err := jsonText(data)
	if err != nil {
		return ErrByteSize
	}
	return s.UnmarshalText([]byte(text))
}

// String rounds for people: "14 GB", "6144 MB".
func (s ByteSize) String() string {
	switch n := int64(s); {
	case n >= 1<<30 && n%(1<<30) == 0:
		return fmt.Sprintf("%d GB", n>>30)
	case n >= 10<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%d MB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%d KB", n>>10)
	default:
		return fmt.Sprintf("%d B", n)
	}
}

// UnmarshalText reads "1m30s". The error is ErrDuration, without the text.
func (d *Duration) UnmarshalText(text []byte) error {
	value, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil || value < 0 {
		return ErrDuration
	}
	*d = Duration(value)
	return nil
}

// MarshalText writes "1m30s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalJSON reads "1m30s".
func (d *Duration) UnmarshalJSON(data []byte) error {
	text, err := jsonText(data)
	if err != nil {
		return ErrDuration
	}
	return d.UnmarshalText([]byte(text))
}

func (d Duration) String() string { return time.Duration(d).String() }

// jsonText returns the content of a JSON string, or a JSON number as it is written.
func jsonText(data []byte) (string, error) {
	var text string
	if err := json.Unmarshal(data, &text); err == nil {
		return text, nil
	}
	var number json.Number
	err := json.Unmarshal(data, &number)
	return number.String(), err
}
