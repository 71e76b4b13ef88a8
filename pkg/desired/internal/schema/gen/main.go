package main

import (
	"fmt"
	"os"
	"path/filepath"

	"ktrdr.io/fleet/pkg/desired/internal/schema"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want two arguments, got %d", len(args))
	}
	files, err := schema.Generate(args[0])
	if err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(args[1], name), data, 0o644); err != nil { //nolint:gosec // published with the repository
			return fmt.Errorf("write schema: %w", err)
		}
	}
	return nil
}
