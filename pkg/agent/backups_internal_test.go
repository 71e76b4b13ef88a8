package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/probe"
	"ktrdr.io/fleet/pkg/api"
)

func TestJudgeBackup(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	b := api.Backup{Name: "db", Path: "/mnt/b", Pattern: "*.dump", MaxAge: 26 * time.Hour, MinSize: 1 << 20}
	file := func(name string, size int64, age time.Duration) probe.BackupFile {
		return probe.BackupFile{Name: name, Size: size, Time: now.Add(-age)}
	}
	before := api.BackupStatus{Name: "db", Stack: "core", OK: true, File: "old", Size: 7, Time: now.Add(-time.Hour)}
	young, old := file("young", 2<<20, time.Hour), file("old", 2<<20, 27*time.Hour)
	cases := map[string]struct {
		files  probe.BackupFiles
		err    error
		file   string
		reason api.Reason
		words  string
	}{
		"young":                        {probe.BackupFiles{Newest: young}, nil, "young", "", ""},
		"as old as it may be":          {probe.BackupFiles{Newest: file("x", 2<<20, 26*time.Hour)}, nil, "x", "", ""},
		"old":                          {probe.BackupFiles{Newest: old}, nil, "old", api.ReasonBackupStale, "old, is 27h0m0s old, at most 26h0m0s"},
		"none":                         {probe.BackupFiles{}, nil, "", api.ReasonBackupMissing, "no file in /mnt/b matches *.dump"},
		"only of the future":           {probe.BackupFiles{Ahead: 2}, nil, "", api.ReasonBackupMissing, "but 2 whose time is in the future"},
		"a little ahead":               {probe.BackupFiles{Newest: file("x", 2<<20, -time.Minute)}, nil, "x", "", ""},
		"an empty one":                 {probe.BackupFiles{Small: file("empty", 0, time.Minute)}, nil, "", api.ReasonBackupTooSmall, "empty in /mnt/b has 0 B, at least 1 MB"},
		"the newest failed":            {probe.BackupFiles{Newest: young, Small: file("empty", 0, 20*time.Minute)}, nil, "young", api.ReasonBackupTooSmall, "empty in"},
		"the newest is being written":  {probe.BackupFiles{Newest: young, Small: file("part", 9, time.Minute)}, nil, "young", "", ""},
		"written for long, old before": {probe.BackupFiles{Newest: old, Small: file("part", 9, time.Minute)}, nil, "old", api.ReasonBackupStale, "27h"},
		"hung":                         {probe.BackupFiles{}, fmt.Errorf("look: %w", probe.ErrHung), "old", api.ReasonMountHung, "no answer"},
		"unreadable":                   {probe.BackupFiles{}, errors.New("look into /mnt/b: permission denied"), "old", api.ReasonBackupMissing, "permission denied"},
		"denied":                       {probe.BackupFiles{}, &refusedLook{}, "old", api.ReasonPolicyViolation, "not allowed"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := judgeBackup(before, b, backupSigns{c.files, c.err, now})
			if got.Name != "db" || got.Stack != "core" || !got.CheckedAt.Equal(now) || got.OK != (c.reason == "") {
				t.Errorf("status %+v", got)
			}
			if got.File != c.file || got.Reason != c.reason || !strings.Contains(got.Message, c.words) || (got.Message == "") != got.OK {
				t.Errorf("status %+v, want file %q, reason %q, words %q", got, c.file, c.reason, c.words)
			}
		})
	}
}

// TestBackupLooks: each backup is looked at in its own interval, soon again after a look that
// found out nothing, and at once when the state or the policy changed.
func TestBackupLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := map[string]int{}
		var mu sync.Mutex // looks happen side by side
		list := []watchedBackup{
			{"", api.Backup{Name: "a", Path: "/a", Interval: 5 * time.Minute}},
			{"core", api.Backup{Name: "b", Path: "/b", Interval: time.Minute}},
			{"core", api.Backup{Name: "hung", Path: "/hung", Interval: time.Hour}},
		}
		var told []api.BackupStatus
		publications := 0
		f := &backupFeed{
			admit:   func(context.Context, watchedBackup) error { return nil },
			wanted:  func() []watchedBackup { return list },
			publish: func(l []api.BackupStatus) { told, publications = l, publications+1 },
			look: func(_ context.Context, b api.Backup) (probe.BackupFiles, error) {
				mu.Lock()
				defer mu.Unlock()
				looks[b.Name]++
				if b.Name == "hung" {
					return probe.BackupFiles{}, probe.ErrHung
				}
				return probe.BackupFiles{}, nil
			},
		}
		for range 600 { // ten minutes of ticks
			f.round(t.Context(), false)
			time.Sleep(time.Second) // the bubble's clock
		}
		if looks["a"] != 2 || looks["b"] != 10 || looks["hung"] != 20 {
			t.Errorf("in ten minutes: %v", looks)
		}
		if len(told) != 3 || told[1].Stack != "core" || told[2].Reason != api.ReasonMountHung {
			t.Errorf("told %+v", told)
		}
		before := looks["a"]
		f.round(t.Context(), true)
		if looks["a"] != before+1 {
			t.Error("a change of the state is not looked at")
		}
		list = list[:1]
		published := publications
		f.round(t.Context(), false)
		f.round(t.Context(), false)
		if len(told) != 1 || publications != published+1 {
			t.Errorf("%d are told after two went; %d publications", len(told), publications-published)
		}
		list = nil
		f.round(t.Context(), false)
		if len(told) != 0 {
			t.Errorf("%d are told after all went", len(told))
		}
	})
}
