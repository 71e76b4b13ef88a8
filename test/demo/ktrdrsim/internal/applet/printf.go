package applet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// printf knows %s, %%, \n, \t and \\. The format is used again while there are arguments.
func printf(_ context.Context, p Process, args []string) int {
	if len(args) == 0 {
		return p.fail(exitUsage, errors.New("printf: want a format"))
	}
	format, rest := args[0], args[1:]
	for {
		text, left, err := formatted(format, rest)
		if err != nil {
			return p.fail(exitUsage, fmt.Errorf("printf: %w", err))
		}
		if _, err := io.WriteString(p.Stdout, text); err != nil {
			return p.fail(exitFailure, fmt.Errorf("printf: %w", err))
		}
		if len(left) == 0 || len(left) == len(rest) {
			return 0
		}
		rest = left
	}
}

func formatted(format string, args []string) (string, []string, error) {
	var out strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' && format[i] != '\\' {
			out.WriteByte(format[i])
			continue
		}
		if i++; i == len(format) {
			return "", nil, errors.New("the format ends too early")
		}
		switch format[i-1 : i+1] {
		case "%s":
			if len(args) > 0 {
				out.WriteString(args[0])
				args = args[1:]
			}
		case `\n`:
			out.WriteByte('\n')
		case `\t`:
			out.WriteByte('\t')
		case "%%", `\\`:
			out.WriteByte(format[i])
		default:
			return "", nil, fmt.Errorf("%q is not supported", format[i-1:i+1])
		}
	}
	return out.String(), args, nil
}
