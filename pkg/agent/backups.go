package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/agent/internal/probe"
	"ktrdr.io/fleet/pkg/api"
)

const (
	// backupTick is how often it is looked at which backups are due for a look.
	backupTick = time.Second
	// backupRetry is the pause after a look that found out nothing.
	backupRetry = 30 * time.Second
	// settling is how long a file may be written to before its size counts.
	settling = 15 * time.Minute
)

// watchedBackup is a backup and the stack that declares it; none for the node.
type watchedBackup struct {
	stack  string
	backup api.Backup
}

// backupFeed looks at the files of backups and publishes what it finds. It belongs to one
// goroutine but for its bell.
type backupFeed struct {
	look    func(ctx context.Context, b api.Backup) (probe.BackupFiles, error)
	admit   func(ctx context.Context, w watchedBackup) error
	wanted  func() []watchedBackup
	publish func([]api.BackupStatus)
	bell    chan struct{}

	known map[watchedBackup]*backupLook
}

// backupLook is what is known of one backup.
type backupLook struct {
	status api.BackupStatus
	next   time.Time
}

func (a *Agent) newBackupFeed(prober *probe.Mounts) *backupFeed {
	return &backupFeed{
		look: prober.Backup, wanted: a.watchedBackups, publish: a.report.SetBackups, bell: make(chan struct{}, 1),
		admit: func(ctx context.Context, w watchedBackup) error {
			return a.gate.AdmitRead(ctx, "backups."+w.backup.Name+".watch.path", w.backup.Path)
		},
	}
}

// watchedBackups are those of the state in force.
func (a *Agent) watchedBackups() []watchedBackup {
	d := a.desired.Load()
	if d == nil {
		return nil
	}
	var list []watchedBackup
	for _, b := range d.Backups {
		list = append(list, watchedBackup{"", b})
	}
	for i := range d.Stacks {
		for _, b := range d.Stacks[i].Backups {
			list = append(list, watchedBackup{d.Stacks[i].Name, b})
		}
	}
	return list
}

func (f *backupFeed) run(ctx context.Context) error {
	ticker := time.NewTicker(backupTick)
	defer ticker.Stop()
	for {
		anew := false
		select {
		case <-ctx.Done():
			return nil
		case <-f.bell: // another state, or another policy
			anew = true
		case <-ticker.C:
		}
		f.round(ctx, anew)
	}
}

// round looks at what is due, side by side, and publishes when anything was looked at or is
// no longer watched.
func (f *backupFeed) round(ctx context.Context, anew bool) { //nolint:revive // who rings says why
	list, now := f.wanted(), time.Now()
	known := map[watchedBackup]*backupLook{}
	var due []watchedBackup
	for _, w := range list {
		look := f.known[w]
		if look == nil {
			look = &backupLook{status: api.BackupStatus{Name: w.backup.Name, Stack: w.stack}}
		}
		known[w] = look
		if anew || !now.Before(look.next) {
			due = append(due, w)
		}
	}
	changed := len(due) > 0 || len(known) != len(f.known)
	f.known = known
	if !changed {
		return
	}
	var g errgroup.Group
	g.SetLimit(4)
	for _, w := range due {
		g.Go(func() error {
			f.one(ctx, w, known[w])
			return nil
		})
	}
	_ = g.Wait()
	if ctx.Err() != nil {
		return
	}
	statuses := []api.BackupStatus{}
	for _, w := range list {
		statuses = append(statuses, known[w].status)
	}
	f.publish(statuses)
}

func (f *backupFeed) one(ctx context.Context, w watchedBackup, look *backupLook) {
	var files probe.BackupFiles
	err := f.admit(ctx, w)
	if err == nil {
		files, err = f.look(ctx, w.backup)
	}
	now := time.Now()
	look.status = judgeBackup(look.status, w.backup, backupSigns{files, err, now})
	look.next = now.Add(w.backup.Interval)
	if err != nil {
		look.next = now.Add(min(w.backup.Interval, backupRetry))
	}
}

// backupSigns are what a look found.
type backupSigns struct {
	files probe.BackupFiles
	err   error
	now   time.Time
}

// judgeBackup is the status of a backup after a look. What could not be looked at keeps the
// file that was seen before.
func judgeBackup(before api.BackupStatus, b api.Backup, s backupSigns) api.BackupStatus {
	out := api.BackupStatus{Name: before.Name, Stack: before.Stack, CheckedAt: s.now}
	if s.err != nil {
		out.File, out.Size, out.Time = before.File, before.Size, before.Time
		out.Reason, out.Message = backupFailure(s.err), s.err.Error()
		return out
	}
	newest, small := s.files.Newest, s.files.Small
	out.File, out.Size, out.Time = newest.Name, newest.Size, newest.Time
	failed := small.Name != "" && (newest.Name == "" || s.now.Sub(small.Time) > settling)
	age := s.now.Sub(newest.Time)
	switch {
	case failed:
		out.Reason = api.ReasonBackupTooSmall
		out.Message = fmt.Sprintf("%s in %s has %s, at least %s are wanted", small.Name, b.Path, api.ByteSize(small.Size), api.ByteSize(b.MinSize))
	case newest.Name == "":
		out.Reason = api.ReasonBackupMissing
		out.Message = fmt.Sprintf("no file in %s matches %s", b.Path, b.Pattern)
		if s.files.Ahead > 0 {
			out.Message += fmt.Sprintf(" but %d whose time is in the future: check the clock of who writes them", s.files.Ahead)
		}
	case age > b.MaxAge:
		out.Reason = api.ReasonBackupStale
		out.Message = fmt.Sprintf("the newest file in %s, %s, is %s old, at most %s are wanted", b.Path, newest.Name, age.Round(time.Minute), b.MaxAge)
	default:
		out.OK = true
	}
	return out
}

func backupFailure(err error) api.Reason {
	var failed interface {
		Failure() (api.ErrorClass, api.Reason)
	}
	switch {
	case errors.As(err, &failed):
		_, reason := failed.Failure()
		return reason
	case errors.Is(err, probe.ErrHung):
		return api.ReasonMountHung
	}
	return api.ReasonBackupMissing
}
