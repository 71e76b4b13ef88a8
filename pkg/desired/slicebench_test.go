package desired_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"ktrdr.io/fleet/pkg/desired"
)

// BenchmarkSlice makes the slices of 1,000 nodes that share a stack.
func BenchmarkSlice(b *testing.B) {
	for _, kind := range []string{"closed", "open"} {
		b.Run(kind, func(b *testing.B) {
			root := b.TempDir()
			if err := os.CopyFS(root, os.DirFS(sample(b))); err != nil {
				b.Fatal(err)
			}
			if kind == "open" {
				addUse(b, root)
			}
			for i := range 1000 {
				file := fmt.Sprintf("apiVersion: ktrdr.io/v1alpha1\nkind: Node\nmetadata: {name: n%d}\nspec: {hostname: n%d, stacks: [{name: workers}]}\n", i, i)
				if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("nodes/n%d.yaml", i)), []byte(file), 0o600); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				s, err := desired.NewSlicer(root)
				if err != nil {
					b.Fatal(err)
				}
				for i := range 1000 {
					if _, err := s.Slice(b.Context(), fmt.Sprintf("n%d", i)); err != nil {
						b.Fatal(err)
					}
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// addUse makes the workers' stack use a file of another folder.
func addUse(tb testing.TB, root string) {
	tb.Helper()
	file := filepath.Join(root, "stacks/workers/compose.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	data = append(data, "\nconfigs: {x: {file: ../core/monitoring/prometheus.yml}}\n"...)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}
