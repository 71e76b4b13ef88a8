package store_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/controller/store"
)

// BenchmarkOpenEmbedded measures a start on a folder that was used before.
func BenchmarkOpenEmbedded(b *testing.B) {
	dir := b.TempDir()
	for first := true; b.Loop(); first = false {
		s, err := store.Open(b.Context(), store.Config{Embedded: &store.Embedded{Dir: dir}})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if first {
			fill(b, s, 1000)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkOpenEmpty measures the first start of all.
func BenchmarkOpenEmpty(b *testing.B) {
	root := b.TempDir()
	for i := 0; b.Loop(); i++ {
		s, err := store.Open(b.Context(), store.Config{Embedded: &store.Embedded{Dir: filepath.Join(root, fmt.Sprint(i))}})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkListStatuses lists 1,000 statuses of 20 KB.
func BenchmarkListStatuses(b *testing.B) {
	for name, config := range map[string]store.Config{
		"embedded": {Embedded: &store.Embedded{Dir: b.TempDir()}},
		"external": {External: &store.External{Endpoints: []string{shared}, Prefix: prefix()}},
	} {
		b.Run(name, func(b *testing.B) {
			s, err := store.Open(b.Context(), config)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			fill(b, s, 1000)
			for b.Loop() {
				if list, err := s.Statuses().List(b.Context()); err != nil || len(list) != 1000 {
					b.Fatal(err, len(list))
				}
			}
		})
	}
}

// BenchmarkPutStatus measures one durable write.
func BenchmarkPutStatus(b *testing.B) {
	s, err := store.Open(b.Context(), store.Config{Embedded: &store.Embedded{Dir: b.TempDir()}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	data := []byte(strings.Repeat("x", 20_000))
	for i := 0; b.Loop(); i++ {
		if err := s.Statuses().Put(b.Context(), store.Status{Node: fmt.Sprint("n", i%1000), Data: data}); err != nil {
			b.Fatal(err)
		}
	}
}

func fill(tb testing.TB, s *store.Store, nodes int) {
	tb.Helper()
	data := []byte(strings.Repeat(`{"stack":"core"},`, 20_000/17))
	for i := range nodes {
		if err := s.Statuses().Put(tb.Context(), store.Status{Node: fmt.Sprintf("n%04d", i), At: time.Now(), Data: data}); err != nil {
			tb.Fatal(err)
		}
	}
}
