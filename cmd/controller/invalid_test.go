package main

import (
	"testing"

	"ktrdr.io/fleet/pkg/configfile/configtest"
)

func TestInvalidConfiguration(t *testing.T) {
	configtest.Refuses(t, configtest.Program{Run: run, Good: "listen: 127.0.0.1:0\n", Prepare: "init --once"})
}
