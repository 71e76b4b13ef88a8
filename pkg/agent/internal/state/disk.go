package state

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
)

// disk keeps records in memory and in a bbolt file. bbolt only ever opens a file that
// this process wrote from scratch: a file from before is read by boltscan and replaced.
// Whenever the file and memory part (damage, full disk, deleted file), the whole file is
// made anew from memory by the next write. Store.mu guards it.
type disk struct {
	dir     string
	lock    *os.File
	records records
	// db is nil while there is no file that can be trusted.
	db   *bbolt.DB
	file *os.File
	// poisoned says that bbolt panicked: its locks may be held for ever.
	poisoned bool
}

// change sets a record; nil content removes it.
type change struct {
	entry
	content []byte
}

const (
	fileName = "state.db"
	newName  = "state.db.new"
)

func (d *disk) path() string { return filepath.Join(d.dir, fileName) }

// write takes the changes into memory and brings the disk up to date with it.
func (d *disk) write(changes []change) error {
	var names []string
	for _, c := range changes {
		name := c.name()
		old, had := d.records[name]
		switch {
		case c.content == nil && had:
			delete(d.records, name)
		case c.content != nil && (!had || !bytes.Equal(old.content, c.content)):
			d.records[name] = newRecord(name, c.content)
		default:
			continue
		}
		names = append(names, name)
	}
	if len(names) == 0 && d.db != nil {
		return nil
	}
	if err := d.sync(names); err != nil {
		return failed("write agent state", err)
	}
	return nil
}

// sync writes the named records, or all of them into a new file when the present one is
// gone or its last write failed.
func (d *disk) sync(names []string) error {
	if d.lock == nil {
		return os.ErrClosed
	}
	if d.db != nil && !d.replaced() {
		err := d.guard(func() error { return d.update(d.db, names) })
		if err == nil {
			return nil
		}
		d.drop()
		if again := d.rebuild(); again != nil {
			return errors.Join(err, again)
		}
		return nil
	}
	d.drop()
	return d.rebuild()
}

// replaced tells that somebody removed or replaced the file: writes would go nowhere.
func (d *disk) replaced() bool {
	open, err := d.file.Stat()
	if err != nil {
		return true
	}
	named, err := os.Lstat(d.path())
	return err != nil || !os.SameFile(open, named)
}

func (d *disk) update(db *bbolt.DB, names []string) error {
	return db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists([]byte(bucketName))
		if err != nil {
			return err
		}
		for _, name := range names {
			if r, found := d.records[name]; found {
				err = bucket.Put([]byte(name), r.stored())
			} else {
				err = bucket.Delete([]byte(name))
			}
			if err != nil {
				return err
			}
		}
		return bucket.Put([]byte(totalName), d.records.total())
	})
}

// rebuild writes all records into a new file and puts it in the place of the old one.
func (d *disk) rebuild() error {
	fresh := filepath.Join(d.dir, newName)
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	err := d.guard(func() error { return d.create(fresh) })
	if err == nil {
		err = os.Rename(fresh, d.path())
	}
	if err == nil {
		err = syncDir(d.dir)
	}
	if err != nil {
		d.drop()
		_ = os.Remove(fresh)
		return err
	}
	return nil
}

func (d *disk) create(name string) error {
	db, err := bbolt.Open(name, 0o600, &bbolt.Options{
		Timeout: time.Second,
		// A file that is left behind after a panic must be closed all the same.
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			file, err := os.OpenFile(name, flag, mode) //nolint:gosec // a name in our own folder
			d.file = file
			return file, err
		},
	})
	if err != nil {
		return err
	}
	d.db = db
	db.AllocSize = 1 << 20
	names := make([]string, 0, len(d.records))
	for recordName := range d.records {
		names = append(names, recordName)
	}
	return d.update(db, names)
}

// drop lets go of the file. bbolt's own Close may hang after a panic; closing the
// descriptor can't, at the price of a memory map that stays.
func (d *disk) drop() {
	switch {
	case d.db != nil && !d.poisoned:
		_ = d.guard(d.db.Close)
	case d.file != nil:
		_ = d.file.Close()
	}
	d.db, d.file, d.poisoned = nil, nil, false
}

func (d *disk) close() error {
	if d.lock == nil {
		return nil
	}
	d.drop() // every write was on disk when it returned: nothing can fail late
	err := d.lock.Close()
	d.lock = nil
	return err
}

// guard turns a panic of bbolt, and a fault of its memory map (an unreadable block), into an error.
func (d *disk) guard(do func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(before)
		if broken := recover(); broken != nil {
			d.poisoned = true
			err = fmt.Errorf("%w: %v", ErrDamaged, broken)
		}
	}()
	return do()
}

func syncDir(name string) error {
	dir, err := os.Open(name) //nolint:gosec // our own folder
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
