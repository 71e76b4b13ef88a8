package desired_test

import (
	"testing"

	"ktrdr.io/fleet/pkg/desired"
)

// BenchmarkLoad reads the sample's node with the largest stack.
func BenchmarkLoad(b *testing.B) {
	root := sample(b)
	for _, node := range []string{"a", "b"} {
		b.Run(node, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := desired.Load(b.Context(), desired.Request{Root: root, Node: node}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
