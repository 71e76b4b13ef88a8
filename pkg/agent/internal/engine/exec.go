package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

const (
	// defaultOutput is how much of a command's output is kept, in bytes.
	defaultOutput = 4096
	// maxLogs bounds what Logs returns, in bytes: the last ones.
	maxLogs = 1 << 20
	// exitPoll is how long Exec waits before it asks again for the exit code of a
	// command whose output has ended already.
	exitPoll = 5 * time.Millisecond
)

// Exec runs a command in a running container and waits for its end, bounded by ctx; the
// engine can't end the command itself. A command that can't be started is an error or,
// depending on the engine, exit code 126 or 127.
// Engine API: POST /containers/{id}/exec, POST /exec/{id}/start, GET /exec/{id}/json.
func (c *Client) Exec(ctx context.Context, req ExecRequest) (ExecResult, error) {
	limit := req.MaxOutput
	if limit <= 0 {
		limit = defaultOutput
	}
	// More is read than is kept: a secret is only recognised as a whole.
	output := &cappedBuffer{limit: max(limit, maxLogs)}
	code := -1
	err := c.do(ctx, call{op: "exec in container", object: req.ID, secrets: append(envValues(req.Env), req.Stdin)}, func(ctx context.Context, s *session) error {
		id, err := c.execCreate(ctx, s, req)
		if err != nil {
			return err
		}
		run := c.execRun
		if req.Stdin != "" {
			run = c.feeding(req.Stdin)
		}
		if err := run(ctx, s, id, output); err != nil {
			return err
		}
		code, err = s.execExit(ctx, id)
		return err
	})
	return ExecResult{ExitCode: code, Output: cutOutput(c.cfg.Redact(output.String()), limit)}, err
}

func (c *Client) execCreate(ctx context.Context, s *session, req ExecRequest) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Query)
	defer cancel()
	created, err := s.cli.ExecCreate(ctx, req.ID, client.ExecCreateOptions{
		User: req.User, Privileged: req.Privileged, Env: req.Env, WorkingDir: req.WorkingDir, Cmd: req.Command,
		AttachStdin: req.Stdin != "", AttachStdout: true, AttachStderr: true,
	})
	return created.ID, err
}

// execRun starts the exec and reads its output to the end. It asks for no connection
// upgrade: the engine then streams the output as the body of a plain answer, which obeys
// the context at every byte.
func (c *Client) execRun(ctx context.Context, s *session, id string, output io.Writer) error {
	body, err := json.Marshal(container.ExecStartRequest{})
	if err != nil {
		return err
	}
	resp, err := c.post(ctx, s, "/exec/"+id+"/start", body)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	return demultiplex(output, resp.Body)
}

// execExit asks for the exit code, which the engine records shortly after the output ends.
func (s *session) execExit(ctx context.Context, id string) (int, error) {
	ticker := time.NewTicker(exitPoll)
	defer ticker.Stop()
	for {
		result, err := s.cli.ExecInspect(ctx, id, client.ExecInspectOptions{})
		if err != nil || !result.Running {
			return result.ExitCode, err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return -1, ctx.Err()
		}
	}
}

// post is for requests that the client's methods can't express.
func (c *Client) post(ctx context.Context, s *session, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://engine/v"+s.version+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Host = client.DummyHost
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < http.StatusBadRequest {
		return resp, nil
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	return nil, readRefusal(resp)
}

// demultiplex reads the engine's frames of stdout and stderr: a byte for the stream,
// three of padding, four of length, and the data. Source: Engine API, "Attach to a container".
func demultiplex(w io.Writer, r io.Reader) error {
	var header [8]byte
	for {
		if _, err := io.ReadFull(r, header[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read output: %w", err)
		}
		if header[0] > 3 || header[1] != 0 || header[2] != 0 || header[3] != 0 {
			return errors.New("the engine's stream of output is garbled")
		}
		if _, err := io.CopyN(w, r, int64(binary.BigEndian.Uint32(header[4:]))); err != nil {
			return fmt.Errorf("read output: %w", err)
		}
	}
}

// cappedBuffer keeps the first limit bytes and counts the rest as written.
//
// The buffer is not embedded: its ReadFrom would let io.Copy go around the limit.
type cappedBuffer struct {
	kept  bytes.Buffer
	limit int
}

// Write implements io.Writer.
func (b *cappedBuffer) Write(p []byte) (int, error) {
	if room := b.limit - b.kept.Len(); room > 0 {
		b.kept.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// String returns what was kept, as valid UTF-8.
func (b *cappedBuffer) String() string { return strings.ToValidUTF8(b.kept.String(), "\uFFFD") }

// tailBuffer keeps the last limit bytes.
type tailBuffer struct {
	kept  []byte
	limit int
}

// Write implements io.Writer.
func (b *tailBuffer) Write(p []byte) (int, error) {
	b.kept = append(b.kept, p...)
	if len(b.kept) > 2*b.limit {
		b.kept = append(b.kept[:0], b.kept[len(b.kept)-b.limit:]...)
	}
	return len(p), nil
}

func (b *tailBuffer) String() string {
	return strings.ToValidUTF8(string(b.kept[max(0, len(b.kept)-b.limit):]), "\uFFFD")
}

// Logs returns the last tail lines of a container's output, at most 1 MiB; tail of zero
// or less means 100. Engine API: GET /containers/{id}/logs.
func (c *Client) Logs(ctx context.Context, id string, tail int) (string, error) {
	if tail <= 0 {
		tail = 100
	}
	output := &tailBuffer{limit: maxLogs}
	err := c.do(ctx, call{op: "read logs of", object: id, limit: c.cfg.Query}, func(ctx context.Context, s *session) error {
		result, err := s.cli.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		if err != nil {
			return err
		}
		logs, err := s.cli.ContainerLogs(ctx, id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(tail)})
		if err != nil {
			return err
		}
		defer logs.Close() //nolint:errcheck // read only
		if cfg := result.Container.Config; cfg != nil && cfg.Tty {
			_, err = io.Copy(output, logs)
			return err
		}
		return demultiplex(output, logs)
	})
	return output.String(), err
}
