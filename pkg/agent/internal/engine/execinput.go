package engine

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/moby/moby/client"
)

// feeding starts an exec and gives it an input. The engine takes the connection over for
// that, which an http.Client can't hand out with a way to end the input alone.
// Source: Engine API, "Attach to a container", hijacking.
func (c *Client) feeding(input string) func(context.Context, *session, string, io.Writer) error {
	return func(ctx context.Context, s *session, id string, output io.Writer) error {
		conn, err := c.transport.base.DialContext(ctx, "", "")
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		defer stop()
		var feeder sync.WaitGroup
		defer func() {
			_ = conn.Close() // ends the feeder too
			feeder.Wait()
		}()
		answer, err := hijack(ctx, conn, "/v"+s.version+"/exec/"+id+"/start")
		if err != nil {
			return cmpContext(ctx, err)
		}
		feeder.Go(func() { feed(conn, input) })
		return cmpContext(ctx, demultiplex(output, answer))
	}
}

// cmpContext prefers the reason why a connection was closed by us.
func cmpContext(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// hijack asks for an exec's streams and returns what the command prints.
func hijack(ctx context.Context, conn net.Conn, path string) (io.Reader, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+client.DummyHost+path, strings.NewReader("{}"))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "tcp")
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, req) //nolint:bodyclose // the connection is closed by the caller
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode >= http.StatusBadRequest:
		return nil, readRefusal(resp)
	case resp.StatusCode != http.StatusSwitchingProtocols:
		return nil, fmt.Errorf("the engine answered %s where a stream was asked for", resp.Status)
	}
	return reader, nil
}

// feed writes the input and ends it. A command need not read it, so that it fails is no
// news; the command's own end tells.
func feed(conn net.Conn, input string) {
	if _, err := io.WriteString(conn, input); err != nil {
		return
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
