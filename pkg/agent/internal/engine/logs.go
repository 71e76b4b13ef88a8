package engine

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/client"
)

// LogRequest asks for the log of a container.
type LogRequest struct {
	ID string
	// Tail is the number of last entries; negative for all.
	Tail int
	// Since is the time of the first entry; zero for all. It has the engine's precision.
	Since time.Time
	// Follow goes on until the container ends.
	Follow bool
}

// LogEntry is what the engine's log driver kept at once: a line, or a part of one that was
// too long for it (16 KiB with most drivers).
type LogEntry struct {
	Time   time.Time
	Stderr bool
	// Text is without the end of the line. It is not redacted: a secret may go on in the
	// next part.
	Text string
	// Partial says that the line goes on in the next entry of the same stream.
	Partial bool
}

// maxEntry bounds one entry, in bytes; drivers with larger ones are cut.
const maxEntry = 1 << 20

// StreamLogs calls emit for each entry. Without Follow it returns at the end of what there
// is; with Follow when the container ends, the engine goes away, or ctx ends.
// Engine API: GET /containers/{id}/logs.
func (c *Client) StreamLogs(ctx context.Context, req LogRequest, emit func(LogEntry)) error {
	what := call{op: "read logs of", object: req.ID}
	return c.do(ctx, what, func(ctx context.Context, s *session) error {
		ask, cancel := context.WithTimeout(ctx, c.cfg.Query)
		result, err := s.cli.ContainerInspect(ask, req.ID, client.ContainerInspectOptions{})
		cancel()
		if err != nil {
			return err
		}
		options := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: req.Follow, Tail: "all"}
		if req.Tail >= 0 {
			options.Tail = strconv.Itoa(req.Tail)
		}
		if !req.Since.IsZero() {
			options.Since = fmt.Sprintf("%d.%09d", req.Since.Unix(), req.Since.Nanosecond())
		}
		body, err := s.cli.ContainerLogs(ctx, req.ID, options)
		if err != nil {
			return err
		}
		defer body.Close() //nolint:errcheck // read only
		if cfg := result.Container.Config; cfg != nil && cfg.Tty {
			return terminalEntries(body, emit)
		}
		return frameEntries(body, emit)
	})
}

// frameEntries reads frames, each of which is an entry: see demultiplex.
func frameEntries(r io.Reader, emit func(LogEntry)) error {
	in := bufio.NewReaderSize(r, 32<<10)
	var header [8]byte
	for {
		if _, err := io.ReadFull(in, header[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read log: %w", err)
		}
		if header[0] > 3 || header[1] != 0 || header[2] != 0 || header[3] != 0 {
			return errors.New("the engine's stream of a log is garbled")
		}
		size := int64(binary.BigEndian.Uint32(header[4:]))
		text := make([]byte, min(size, maxEntry))
		if _, err := io.ReadFull(in, text); err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if _, err := io.CopyN(io.Discard, in, size-int64(len(text))); err != nil {
			return fmt.Errorf("read log: %w", err)
		}
		if header[0] == 3 { // the engine's own error
			return errors.New(strings.TrimSpace(string(text)))
		}
		emit(entryOf(string(text), header[0] == 2))
	}
}

// entryOf splits the time off.
func entryOf(text string, stderr bool) LogEntry { //nolint:revive // a property of the entry
	e := LogEntry{Stderr: stderr}
	if stamp, rest, ok := strings.Cut(text, " "); ok {
		if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
			e.Time, text = at, rest
		}
	}
	line, whole := strings.CutSuffix(text, "\n")
	e.Text, e.Partial = strings.TrimSuffix(line, "\r"), !whole
	return e
}

// innerStamp is the time before each part of a line that the driver cut, which a terminal's
// log has in the middle of the line.
var innerStamp = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z `)

// DriverCut is the size from which drivers cut lines, in bytes.
const DriverCut = 16 << 10

// terminalEntries reads the log of a terminal, which has no frames: lines with their time.
func terminalEntries(r io.Reader, emit func(LogEntry)) error {
	in := bufio.NewReaderSize(r, 32<<10)
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part[:min(len(part), maxEntry-min(len(line), maxEntry))]...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if len(line) > 0 {
			if n := len(line); err == nil && line[n-1] != '\n' {
				line[n-1] = '\n' // a line that was cut at maxEntry ends here
			}
			e := entryOf(string(line), false)
			if len(e.Text) > DriverCut {
				e.Text = innerStamp.ReplaceAllString(e.Text, "")
			}
			emit(e)
			line = line[:0]
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read log: %w", err)
		}
	}
}
