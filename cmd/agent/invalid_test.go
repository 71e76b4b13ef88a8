package main

import (
	"io"
	"strings"
	"testing"

	"ktrdr.io/fleet/pkg/configfile/configtest"
)

func TestInvalidConfiguration(t *testing.T) {
	configtest.Refuses(t, configtest.Program{
		Run:     func(args []string, out, errs io.Writer) int { return run(args, strings.NewReader(""), out, errs) },
		Good:    "node: a\nsource:\n  dir:\n    path: /srv\n",
		Prepare: "prepare",
	})
}
