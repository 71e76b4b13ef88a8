package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// request and answer are the helper's standard input and output, as JSON.
type request struct {
	Path     string        `json:"path"`
	Writable bool          `json:"writable,omitzero"`
	GID      *int          `json:"gid,omitzero"`
	Timeout  time.Duration `json:"timeout"`
	// Files asks for files in a folder, in place of all of the above but the path.
	Files *wantedFiles `json:"files,omitzero"`
}

type answer struct {
	// Reason is empty when the mount is as wanted.
	Reason  api.Reason `json:"reason,omitzero"`
	Message string     `json:"message,omitzero"`
	// Files are what was asked for.
	Files *BackupFiles `json:"files,omitzero"`
}

// run is one helper process. answer and err may be read once done is closed.
type run struct {
	request request
	cmd     *exec.Cmd
	started time.Time
	done    chan struct{}
	answer  answer
	err     error
	// abandoned is guarded by Mounts.mu.
	abandoned bool
}

var (
	errGone = errors.New("the helper ended without an answer")
	errSlow = errors.New("no answer")
)

// ask runs a helper, or waits for the one that runs for the same request. A path whose
// helper was given up gets no second one: each would hang as well, and they add up.
func (m *Mounts) ask(ctx context.Context, want request) (answer, error) {
	for {
		r, err := m.begin(want)
		if err != nil {
			return answer{}, err
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			if !errors.Is(context.Cause(ctx), errSlow) {
				return answer{}, context.Cause(ctx)
			}
			m.abandon(r)
			return answer{}, fmt.Errorf("%w within %s: %s", errSlow, want.Timeout, hungFix)
		}
		if r.request.same(want) {
			return r.answer, r.err
		}
	}
}

func (r request) same(other request) bool {
	sameGID := r.GID == other.GID || r.GID != nil && other.GID != nil && *r.GID == *other.GID
	sameFiles := r.Files == other.Files || r.Files != nil && other.Files != nil && *r.Files == *other.Files
	return r.Path == other.Path && r.Writable == other.Writable && sameGID && sameFiles
}

func (m *Mounts) begin(want request) (*run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.runs[want.Path]; r != nil {
		if r.abandoned {
			return nil, fmt.Errorf("%w since %s: %s", errSlow, r.started.UTC().Format(time.RFC3339), hungFix)
		}
		return r, nil
	}
	r, err := m.start(want)
	if err != nil {
		return nil, err
	}
	m.runs[want.Path] = r
	return r, nil
}

const hungFix = "the file server does not answer: check it and the network, then remount"

func (m *Mounts) start(want request) (*run, error) {
	input, err := json.Marshal(want)
	if err != nil {
		return nil, fmt.Errorf("start the helper: %w", err)
	}
	// Without a context on purpose: cancelling one waits for the process, which may never end.
	cmd := exec.Command(m.config.Helper[0], m.config.Helper[1:]...) //nolint:gosec,noctx // our own binary
	output := &bounded{limit: 64 << 10}
	cmd.Stdin, cmd.Stdout = bytes.NewReader(input), output
	cmd.Dir, cmd.Env = "/", []string{}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the helper: %w", err)
	}
	r := &run{request: want, cmd: cmd, started: time.Now(), done: make(chan struct{})}
	// Nobody can wait for this goroutine: it ends with the process.
	go m.reap(r, output)
	return r, nil
}

func (m *Mounts) reap(r *run, output *bounded) {
	err := r.cmd.Wait()
	decoded := json.Unmarshal(output.Bytes(), &r.answer)
	m.mu.Lock()
	delete(m.runs, r.request.Path)
	abandoned := r.abandoned
	m.mu.Unlock()
	switch {
	case decoded == nil:
	case abandoned: // by another one who asked: that it was killed is no news for who waits
		r.err = fmt.Errorf("%w within %s: %s", errSlow, r.request.Timeout, hungFix)
	case err != nil:
		r.err = fmt.Errorf("%w: %w", errGone, err)
	default:
		r.err = errGone
	}
	close(r.done)
	if abandoned {
		m.log.Info("hung probe of a file system ended", "path", r.request.Path, "duration", time.Since(r.started))
	}
}

// abandon gives a helper up. The kill frees it where the kernel allows that; where it
// does not, the process stays until the file server answers.
func (m *Mounts) abandon(r *run) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.runs[r.request.Path] == r && !r.abandoned {
		r.abandoned = true
		_ = r.cmd.Process.Kill()
		m.log.Warn("probe of a file system hangs", "path", r.request.Path, "pid", r.cmd.Process.Pid)
	}
}

// bounded keeps the first limit bytes.
type bounded struct {
	bytes.Buffer
	limit int
}

func (b *bounded) Write(p []byte) (int, error) {
	if room := b.limit - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
