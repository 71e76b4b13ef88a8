package database

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Words of the protocol. A client sends one line: ping gets ready or starting; login USER gets a challenge, and its proof
// accepted or denied; alter USER VERIFIER, on the local socket only, gets accepted or denied.
const (
	ping     = "PING"
	ready    = "READY"
	starting = "STARTING"
	login    = "LOGIN"
	alter    = "ALTER"
	accepted = "OK"
	denied   = "DENIED"
)

// talkTime bounds one conversation; talkLimit bounds what is read of it, in bytes.
const (
	talkTime  = 30 * time.Second
	talkLimit = 1024
)

// talk is a conversation of lines.
type talk struct {
	conn  net.Conn
	lines *bufio.Reader
}

func (t *talk) hear() (string, error) {
	line, err := t.lines.ReadString('\n')
	return strings.TrimSpace(line), err
}

func (t *talk) say(line string) error {
	_, err := io.WriteString(t.conn, line+"\n")
	return err
}

func (t *talk) ask(line string) (string, error) {
	if err := t.say(line); err != nil {
		return "", err
	}
	return t.hear()
}

func deadline(ctx context.Context) time.Time {
	at, _ := ctx.Deadline()
	return at
}

// socketIn is the local socket of the database in a data directory.
func socketIn(dir string) string { return filepath.Join(dir, ".s.ktrdrsim.5432") }

// server is a database that runs.
type server struct {
	file    string
	readyAt time.Time

	mu      sync.Mutex
	cluster Cluster
}

// answer ends without a word when the client says nothing that is understood: a bare connect is a valid liveness check.
func (s *server) answer(conn net.Conn, trusted func(line string) string) {
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(talkTime)) != nil {
		return
	}
	t := &talk{conn: conn, lines: bufio.NewReader(io.LimitReader(conn, talkLimit))}
	line, err := t.hear()
	word, rest, _ := strings.Cut(line, " ")
	switch {
	case err != nil:
	case line == ping:
		_ = t.say(s.state())
	case word == login:
		s.login(t, rest)
	case word == alter && trusted != nil:
		_ = t.say(trusted(rest))
	}
}

func (s *server) state() string {
	if time.Now().Before(s.readyAt) {
		return starting
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return ready + " " + s.cluster.ID
}

func (s *server) login(t *talk, user string) {
	s.mu.Lock()
	text, stored := s.cluster.challenge(user)
	s.mu.Unlock()
	proof, err := t.ask(text)
	if err != nil {
		return
	}
	reply := denied
	if proves(proof, text, stored) && !time.Now().Before(s.readyAt) {
		reply = accepted
	}
	_ = t.say(reply)
}

// alter keeps another verifier, on disk first.
func (s *server) alter(line string) string {
	user, verifier, _ := strings.Cut(line, " ")
	s.mu.Lock()
	defer s.mu.Unlock()
	if user != s.cluster.User || !strings.HasPrefix(verifier, "SCRAM-SHA-256$") {
		return denied
	}
	next := s.cluster
	next.Verifier = verifier
	if writeCluster(s.file, next) != nil {
		return denied
	}
	s.cluster = next
	return accepted
}

// writeCluster replaces the data file as a whole.
func writeCluster(file string, c Cluster) error {
	raw, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode cluster: %w", err)
	}
	if err := os.WriteFile(file+".new", raw, 0o600); err != nil {
		return fmt.Errorf("write cluster: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("write cluster: %w", err)
	}
	return nil
}
