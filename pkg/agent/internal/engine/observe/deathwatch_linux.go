package observe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// deathWatch tells of the end of processes through pidfds. All of them are in one
// epoll set that one goroutine waits on, which starts with the first process.
type deathWatch struct {
	proc string
	log  *slog.Logger
	died func(id string, pid int)

	needed chan struct{} // closed when there is something to wait for

	mu     sync.Mutex
	closed bool
	epoll  int // 0 until needed
	stop   int // eventfd that ends the wait
	byID   map[string]process
	// byToken finds the container of an event. Descriptors would not do: one that was
	// closed and given to another process could still have an event under way.
	byToken map[int32]string
	last    int32
}

type process struct {
	pid, fd int
	token   int32
}

// newDeathWatch calls died, from its own goroutine and under no lock, once for each
// process that ended while it was watched.
func newDeathWatch(proc string, log *slog.Logger, died func(id string, pid int)) *deathWatch {
	return &deathWatch{
		proc: proc, log: log, died: died,
		needed: make(chan struct{}),
		byID:   map[string]process{}, byToken: map[int32]string{},
	}
}

// watch follows process pid of container id instead of any earlier one of it. Nothing
// happens where the process is not visible or belongs to something else.
func (d *deathWatch) watch(id string, pid int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.byID[id].pid == pid {
		return
	}
	d.drop(id)
	p, err := d.open(id, pid)
	if err != nil {
		d.log.Debug("process is not watched", "container_id", id, "pid", pid, "err", err)
		return
	}
	d.byID[id] = p
	d.byToken[p.token] = id
}

// open returns a pidfd in the epoll set. The cgroup is compared before and after the
// pidfd is opened: a number that was given to another process in between is noticed.
func (d *deathWatch) open(id string, pid int) (process, error) {
	if err := d.belongs(id, pid); err != nil {
		return process{}, err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return process{}, fmt.Errorf("pidfd_open: %w", err)
	}
	if err := d.belongs(id, pid); err != nil {
		return process{}, errors.Join(err, unix.Close(fd))
	}
	if err := d.prepare(); err != nil {
		return process{}, errors.Join(err, unix.Close(fd))
	}
	d.last++
	if err := d.add(fd, d.last); err != nil {
		return process{}, errors.Join(err, unix.Close(fd))
	}
	return process{pid: pid, fd: fd, token: d.last}, nil
}

// belongs reads /proc/<pid>/cgroup. The container's id is in its path with cgroup v1 and
// v2, with the cgroupfs driver (/docker/<id>) and the systemd one (docker-<id>.scope).
func (d *deathWatch) belongs(id string, pid int) error {
	f, err := os.Open(filepath.Join(d.proc, strconv.Itoa(pid), "cgroup")) //nolint:gosec // a number below /proc
	if err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if id == "" || !bytes.Contains(data, []byte(id)) {
		return errors.New("the process is not in the container's cgroup")
	}
	return nil
}

// prepare makes the epoll set at its first use.
func (d *deathWatch) prepare() error {
	if d.epoll != 0 {
		return nil
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("epoll_create1: %w", err)
	}
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return errors.Join(fmt.Errorf("eventfd: %w", err), unix.Close(epoll))
	}
	d.epoll, d.stop = epoll, stop
	if err := d.add(stop, 0); err != nil {
		d.epoll = 0
		return errors.Join(err, unix.Close(stop), unix.Close(epoll))
	}
	close(d.needed)
	return nil
}

// add puts fd into the epoll set. The kernel hands the token back as it is; the field's
// name is only a convention.
func (d *deathWatch) add(fd int, token int32) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: token}
	if err := unix.EpollCtl(d.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// forget ends the watch of a container's process without a word.
func (d *deathWatch) forget(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(id)
}

// drop is forget with d.mu held. Closing a pidfd takes it out of the epoll set.
func (d *deathWatch) drop(id string) {
	p, ok := d.byID[id]
	if !ok {
		return
	}
	delete(d.byID, id)
	delete(d.byToken, p.token)
	if err := unix.Close(p.fd); err != nil {
		d.log.Debug("close of a pidfd", "container_id", id, "err", err)
	}
}

// run reports deaths until ctx ends and closes all descriptors then.
func (d *deathWatch) run(ctx context.Context) error {
	defer d.close()
	select {
	case <-d.needed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	unhook := context.AfterFunc(ctx, d.interrupt)
	defer unhook()
	events := make([]unix.EpollEvent, 64)
	for ctx.Err() == nil {
		n, err := unix.EpollWait(d.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			d.log.Debug("deaths are not watched any more", "err", err)
			<-ctx.Done()
		}
		for _, event := range events[:max(n, 0)] {
			d.report(event.Fd)
		}
	}
	return context.Cause(ctx)
}

func (d *deathWatch) interrupt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	one := binary.NativeEndian.AppendUint64(nil, 1)
	if _, err := unix.Write(d.stop, one); err != nil {
		d.log.Debug("write to the eventfd", "err", err)
	}
}

func (d *deathWatch) report(token int32) {
	d.mu.Lock()
	id, ok := d.byToken[token]
	pid := d.byID[id].pid
	d.drop(id)
	d.mu.Unlock()
	if ok {
		d.died(id, pid)
	}
}

func (d *deathWatch) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for id := range d.byID {
		d.drop(id)
	}
	if d.epoll != 0 {
		if err := errors.Join(unix.Close(d.stop), unix.Close(d.epoll)); err != nil {
			d.log.Debug("close of the epoll set", "err", err)
		}
		d.epoll = 0
	}
}
