package connect_test

import (
	"testing"

	server "ktrdr.io/fleet/test/connect"
)

// BenchmarkLook is what the five secrets of the user's item cost: read anew, and when
// nothing changed.
func BenchmarkLook(b *testing.B) {
	s, err := server.New()
	if err != nil {
		b.Fatal(err)
	}
	w := &world{Server: s}
	w.begin(b)
	var refs []string
	for _, label := range []string{"db_username", "db_password", "jwt_secret", "grafana_password", "ghcr_token"} {
		if err := s.Set(w.vault, w.item, label, "value of "+label); err != nil {
			b.Fatal(err)
		}
		refs = append(refs, prefix+label)
	}
	for name, again := range map[string]bool{"changed": true, "unchanged": false} {
		b.Run(name, func(b *testing.B) {
			p := w.provider(b)
			if _, err := p.Resolve(b.Context(), refs); err != nil {
				b.Fatal(err)
			}
			w.ForgetCounts()
			for b.Loop() {
				if again {
					if err := s.Edit(w.vault, w.item, func(it *server.Item) { it.Tags = nil }); err != nil {
						b.Fatal(err)
					}
				}
				if _, err := p.Resolve(b.Context(), refs); err != nil {
					b.Fatal(err)
				}
			}
			requests := 0
			for _, n := range w.Counts() {
				requests += n
			}
			b.ReportMetric(float64(requests)/float64(b.N), "requests/op")
		})
	}
}
