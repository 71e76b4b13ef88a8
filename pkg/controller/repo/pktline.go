package repo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// Limits of what a pusher says before the pack.
const (
	maxPacket   = 65520 // gitprotocol-common: LARGE_PACKET_MAX
	maxCommands = 1000
	maxOptions  = 50
	maxOption   = 1000
)

// errProtocol: the bytes are not those of git's protocol.
var errProtocol = errors.New("is not git's push protocol")

// packet reads one pkt-line. flush is the packet "0000". Source: gitprotocol-common(5).
func packet(r *bufio.Reader) (payload []byte, flush bool, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, false, err
	}
	size, err := strconv.ParseUint(string(head[:]), 16, 16)
	switch {
	case err != nil || strings.ContainsAny(string(head[:]), "+_"):
		return nil, false, errProtocol
	case size == 0:
		return nil, true, nil
	case size < 4 || size > maxPacket:
		return nil, false, errProtocol
	}
	payload = make([]byte, size-4)
	if _, err := io.ReadFull(r, payload); err != nil {
		return nil, false, unexpected(err)
	}
	return payload, false, nil
}

// unexpected makes an end in the middle of something an error of its own.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// command asks for a change of one reference.
type command struct{ old, new, ref string }

func (c command) isDelete() bool { return c.new == noCommit }

// noCommit stands for a reference that is not there.
const noCommit = "0000000000000000000000000000000000000000"

// request is what a pusher says before the pack.
type request struct {
	commands []command
	options  []string
	// sideBand says that the answer may have progress in it.
	sideBand bool
	// report says that the pusher wants to hear what became of it.
	report bool
	quiet  bool
}

var commandForm = regexp.MustCompile(`^([0-9a-f]{40}) ([0-9a-f]{40}) ([^ \x00-\x1f\x7f]{1,1000})$`)

// readRequest reads up to the pack. No commands and no error are a client that only asks
// whether it may (it sends a single flush). Source: gitprotocol-pack(5), "Reference Update
// Request and Packfile Transfer".
func readRequest(r *bufio.Reader) (request, error) {
	var req request
	var capabilities string
	for n := 0; ; n++ {
		line, flush, err := packet(r)
		if err != nil {
			return req, fmt.Errorf("read commands: %w", unexpected(err))
		}
		if flush {
			break
		}
		if n >= maxCommands {
			return req, fmt.Errorf("read commands: more than %d", maxCommands)
		}
		text, more, found := strings.Cut(strings.TrimSuffix(string(line), "\n"), "\x00")
		if found && len(req.commands) == 0 {
			capabilities = more
		}
		// A shallow clone says where its history ends; whether all objects are here is looked
		// at later, whatever it says.
		if strings.HasPrefix(text, "shallow ") && len(req.commands) == 0 {
			continue
		}
		m := commandForm.FindStringSubmatch(text)
		if m == nil {
			return req, fmt.Errorf("read commands: %w", errProtocol)
		}
		req.commands = append(req.commands, command{old: m[1], new: m[2], ref: m[3]})
	}
	if len(req.commands) == 0 {
		return req, nil
	}
	err := req.understand(r, capabilities)
	return req, err
}

// understand looks at the capabilities, and reads the options if there are any.
func (q *request) understand(r *bufio.Reader, capabilities string) error {
	options := false
	for word := range strings.FieldsSeq(capabilities) {
		switch word {
		case "side-band-64k":
			q.sideBand = true
		case "report-status", "report-status-v2":
			q.report = true
		case "quiet":
			q.quiet = true
		case "push-options":
			options = true
		}
	}
	if !options {
		return nil
	}
	for {
		line, flush, err := packet(r)
		switch {
		case err != nil:
			return fmt.Errorf("read push options: %w", unexpected(err))
		case flush:
			return nil
		case len(q.options) >= maxOptions || len(line) > maxOption:
			return fmt.Errorf("read push options: more than %d, or one longer than %d bytes", maxOptions, maxOption)
		}
		q.options = append(q.options, oneLine(string(line)))
	}
}

// writePacket writes one pkt-line.
func writePacket(w io.Writer, payload string) error {
	_, err := fmt.Fprintf(w, "%04x%s", len(payload)+4, payload)
	return err
}
