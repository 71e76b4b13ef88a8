package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// removalLimit bounds the end of processes, and the removal of what they leave.
const removalLimit = 2 * time.Minute

// Sweep removes the nodes of test processes that are gone.
func Sweep() error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		if ownerLives(dir) {
			continue
		}
		errs = append(errs, killAll(dir), destroy(dir))
	}
	return errors.Join(errs...)
}

// ownerLives also holds for a folder whose owner has not signed it yet.
func ownerLives(dir string) bool {
	data, err := os.ReadFile(filepath.Join(dir, "owner"))
	if err != nil {
		info, statErr := os.Stat(dir)
		return statErr == nil && time.Since(info.ModTime()) < time.Minute
	}
	pid, start, _ := strings.Cut(string(data), " ")
	number, err := strconv.Atoi(pid)
	return err == nil && start != "" && startTime(number) == start
}

// startTime identifies a process beyond its number; empty when it is gone. Source: proc(5),
// field 22 of stat.
func startTime(pid int) string {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return ""
	}
	return fields[19]
}

// killAll ends the processes of a node: those that carry its mark, then those of its
// control groups, until none is left.
func killAll(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), removalLimit)
	defer cancel()
	return wait(ctx, "the end of all processes of "+dir, func() bool {
		_ = setFreezer(dir, thawed) // a frozen process does not even die
		pids := append(marked(dir), inGroups(dir)...)
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return len(pids) == 0
	})
}

// marked lists processes that were started with the node's mark in their environment.
func marked(dir string) []int {
	mark := []byte(envKey + "=" + dir + "\x00")
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// A zombie has an empty environment and is not ours to wait for.
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err == nil && bytes.Contains(env, mark) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// groups are the control group folders of a node, the innermost first.
func groups(dir string) []string {
	roots := []string{filepath.Join("/sys/fs/cgroup", filepath.Base(dir))}
	more, _ := filepath.Glob(filepath.Join("/sys/fs/cgroup/*", filepath.Base(dir)))
	var found []string
	for _, root := range append(roots, more...) {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				found = append(found, path)
			}
			return nil
		})
	}
	slices.Reverse(found)
	return found
}

func inGroups(dir string) []int {
	var pids []int
	for _, group := range groups(dir) {
		data, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		if err != nil {
			continue
		}
		for field := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// unmount takes away the disks of a machine.
func unmount(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var points []string
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			points = append(points, fields[4])
		}
	}
	var errs []error
	for _, point := range slices.Backward(points) {
		errs = append(errs, syscall.Unmount(point, 0))
	}
	return errors.Join(errs...)
}

// destroy removes disks, control groups and files. What a node mounted in its own
// namespace went with that.
func destroy(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), removalLimit)
	defer cancel()
	var left error
	err := wait(ctx, "the removal of "+dir, func() bool {
		if left = unmount(dir); left != nil {
			return false
		}
		for _, group := range groups(dir) {
			if err := os.Remove(group); err != nil && !errors.Is(err, fs.ErrNotExist) {
				left = err
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			left = err
		}
		return left == nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, left)
	}
	return nil
}
