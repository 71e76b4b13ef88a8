package ctl

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// readLogs reads one stream of a fleet.
func (c *controller) readLogs(ctx context.Context, req *ktrdrv1.LogsRequest, take func(*ktrdrv1.LogsResponse)) error {
	stream, err := c.Fleet.Logs(ctx, req)
	for err == nil {
		var a *ktrdrv1.LogsResponse
		if a, err = stream.Recv(); err != nil {
			break
		}
		take(a)
	}
	return c.Explain(ctx, err)
}

// maxLogLine bounds what is read of one line of an agent's answer, in bytes: its text has at
// most 16 KiB, and JSON may need six for each.
const maxLogLine = 256 << 10

// readLogs reads the logs of one agent.
func (c *client) readLogs(ctx context.Context, req *ktrdrv1.LogsRequest, take func(*ktrdrv1.LogsResponse)) error {
	st, err := c.status(ctx) // the lines don't have the node's name
	if err != nil {
		return err
	}
	body, err := c.stream(ctx, request{method: http.MethodGet, path: "/v1/logs", query: logQuery(req.GetLogs())})
	if refused, ok := errors.AsType[*refusedError](err); ok && refused.Reason == "NotFound" && refused.Field == "" {
		return errors.New("the agent is older than this ktrdrctl and tells no logs: docker compose -p PROJECT logs on the node; ktrdrctl status -o json shows the project")
	}
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // a body that was read
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxLogLine)
	for lines.Scan() {
		var line struct {
			logDoc
			refusedError
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("%s answers with something else than log lines: is it an agent?", c.address)
		}
		if line.refusedError.Text != "" {
			return &line.refusedError
		}
		take(&ktrdrv1.LogsResponse{Logs: &ktrdrv1.LogBatch{Lines: []*ktrdrv1.LogLine{{
			Node: st.Node, Stack: line.Stack, Service: line.Service, Container: line.Container,
			Time: wire.Timestamp(line.Time), Stderr: line.Stream == "stderr", Text: line.logDoc.Text,
		}}}})
	}
	switch err := lines.Err(); {
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Canceled
	case err != nil:
		return &unreachableError{address: c.address, timeout: c.timeout, cause: err}
	case req.GetLogs().GetFollow():
		return &unreachableError{address: c.address, timeout: c.timeout, cause: io.ErrUnexpectedEOF}
	}
	return io.EOF
}

func logQuery(q *ktrdrv1.LogsCommand) url.Values {
	v := url.Values{"stack": {q.GetStack()}, "tail": {strconv.Itoa(max(-1, int(q.GetTail())))}}
	if len(q.GetServices()) > 0 {
		v.Set("services", strings.Join(q.GetServices(), ","))
	}
	if q.GetSince() != nil {
		v.Set("since", wire.Time(q.GetSince()).Format(time.RFC3339Nano))
	}
	if q.GetFollow() {
		v.Set("follow", "true")
	}
	return v
}
