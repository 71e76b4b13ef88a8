package controller

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes are a listener whose connections are in memory: their deadlines follow the clock of the test.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

func (*pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.conns <- there
	return here
}

// asked serves a handler and asks it once; the answer is read by the caller, or not.
func asked(t *testing.T, server *http.Server) net.Conn {
	t.Helper()
	l := newPipes()
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) })
	conn := l.dial()
	t.Cleanup(func() { _, _ = conn.Close(), server.Close(); serving.Wait() })
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestStalledBackup ends: who takes nothing keeps the store from using freed space again.
func TestStalledBackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		asked(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			to := &patient{to: w, control: http.NewResponseController(w), stall: backupStall}
			for {
				if _, err := to.Write(make([]byte, 1<<20)); err != nil {
					ended <- err
					return
				}
			}
		})})
		began := time.Now()
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != backupStall {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

// TestLongBackup goes on for longer than the server gives to other requests.
func TestLongBackup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = time.Minute
		ended := make(chan error, 1)
		conn := asked(t, &http.Server{
			ReadHeaderTimeout: limit / 2, ReadTimeout: limit, WriteTimeout: limit,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				to, err := &patient{to: w, control: http.NewResponseController(w), stall: 2 * limit}, error(nil)
				for end := time.Now().Add(5 * limit); err == nil && time.Now().Before(end); time.Sleep(limit / 3) {
					if _, err = to.Write(make([]byte, 1<<10)); err == nil {
						err = r.Context().Err()
					}
				}
				ended <- err
			}),
		})
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
