package edit_test

import (
	"flag"
	"testing"
)

// TestMain draws fewer examples than rapid's 100 unless -rapid.checks says otherwise: each
// loads a repository several times.
func TestMain(m *testing.M) {
	const checks = "rapid.checks"
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == checks })
	if !chosen {
		if err := flag.Set(checks, "40"); err != nil {
			panic(err)
		}
	}
	m.Run()
}
