package telemetry_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ktrdr.io/fleet/pkg/telemetry"
)

func TestFacts(t *testing.T) {
	m := telemetry.NewMetrics(telemetry.Build{})
	found := telemetry.Facts{
		Registrations: []telemetry.Registration{{Stack: "s", Service: "w", Container: "w-1", Registered: true}, {Stack: "s", Service: "w", Container: "w-2"}},
		Registrars:    []telemetry.Registrar{{URL: "http://backend/", Up: true}, {URL: "http://long/" + strings.Repeat("x", 300)}, {URL: "http://long/" + strings.Repeat("x", 301)}},
		Backups:       []telemetry.Backup{{Name: "s/db", OK: true, Size: 1024, Time: time.Unix(1700000000, 0)}, {Name: "none"}},
	}
	m.WatchFacts(func() telemetry.Facts { return found })
	got := ours(scrape(t, m))
	long := "http://long/" + strings.Repeat("x", 188)
	want := []string{
		`ktrdr_backup_last_timestamp_seconds{backup="s/db"} 1.7e+09`,
		`ktrdr_backup_ok{backup="none"} 0`,
		`ktrdr_backup_ok{backup="s/db"} 1`,
		`ktrdr_backup_size_bytes{backup="s/db"} 1024`,
		`ktrdr_engine_up 0`,
		`ktrdr_registrar_up{url="http://backend/"} 1`,
		`ktrdr_registrar_up{url="` + long + `"} 0`,
		`ktrdr_service_registered{container="w-1",service="w",stack="s"} 1`,
		`ktrdr_service_registered{container="w-2",service="w",stack="s"} 0`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for range 1000 {
		found.Registrations = append(found.Registrations, telemetry.Registration{Container: strings.Repeat("y", len(found.Registrations))})
	}
	if n := strings.Count(scrape(t, m), "ktrdr_service_registered{"); n > 200 {
		t.Errorf("%d samples", n)
	}
}
