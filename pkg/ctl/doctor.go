package ctl

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/wire"
	ktrdrv1 "ktrdr.io/fleet/proto/ktrdr/v1"
)

// doctorPatience is what the checks of a node may take: names and registries may hang.
const doctorPatience = 2 * time.Minute

// checkDoc is a row of the report. Node is empty for the controller.
type checkDoc struct {
	Node string `json:"node"`
	api.Check
}

func (s *session) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [NODE…]",
		Short: "Check whether nodes can run what they shall, and the controller",
		Long: "Checks engines, clocks, disks, mounts, ports, names, registries, secrets and certificates, with the needs of\n" +
			"the newest revision or of --revision; of a single agent also with those of a folder (--dir). Nothing is changed,\n" +
			"but --canary starts a container and removes it. The exit code is 3 when a check fails; warnings don't count.",
		Example: `ktrdrctl doctor
ktrdrctl doctor b --canary
ktrdrctl doctor -o json | jq 'select(.result == "fail")'`,
		ValidArgsFunction: s.complete(completeNode, nil),
	}
	format := output(cmd, formatTable, formatJSON)
	canary := cmd.Flags().Bool("canary", false, "start a container for the check")
	all := cmd.Flags().Bool("all", false, "show what is ok as well (JSON always does)")
	revision := cmd.Flags().String("revision", "", "check the needs of this revision; the head by default")
	dir := cmd.Flags().String("dir", "", "of a single agent: check the needs of this desired-state folder")
	s.completeFlag(cmd, "revision", completeRevision)
	cmd.RunE = s.run(sides{
		fleet: func(cmd *cobra.Command, c *controller, args []string) error {
			if *dir != "" {
				return errors.New("--dir is for a single agent; push the folder to a branch and use --revision")
			}
			r := &examination{out: cmd.OutOrStdout(), format: *format, all: *all}
			err := c.doctor(cmd.Context(), &ktrdrv1.DoctorRequest{Nodes: args, Revision: *revision, Canary: *canary}, r.add)
			return r.end(err)
		},
		agent: func(cmd *cobra.Command, c *client, args []string) error {
			if len(args) > 0 || *revision != "" {
				return errors.New("nodes and --revision are for a fleet; a single agent checks its own node, with --dir the needs of a folder")
			}
			r := &examination{out: cmd.OutOrStdout(), format: *format, all: *all}
			return r.end(c.doctor(cmd.Context(), *dir, url.Values{"canary": {fmt.Sprint(*canary)}}, r.add))
		},
	})
	return cmd
}

func (c *controller) doctor(ctx context.Context, req *ktrdrv1.DoctorRequest, add func(checkDoc) error) error {
	limited, cancel := context.WithTimeout(ctx, c.timeout+doctorPatience)
	defer cancel()
	stream, err := c.Fleet.Doctor(limited, req)
	for err == nil {
		var row *ktrdrv1.NodeCheck
		if row, err = stream.Recv(); err != nil {
			break
		}
		if err := add(checkDoc{Node: row.GetNode(), Check: wire.CheckFromProto(row.GetCheck())}); err != nil {
			return err
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return c.Explain(ctx, err)
}

// doctor asks one agent, which answers with one row a line.
func (c *client) doctor(ctx context.Context, dir string, query url.Values, add func(checkDoc) error) error {
	req := request{method: http.MethodPost, path: "/v1/doctor", query: query, patience: doctorPatience}
	if dir != "" {
		archive, err := pack(ctx, dir)
		if err != nil {
			return err
		}
		req.body, req.contentType = archive, "application/x-tar"
	}
	answer, err := c.read(ctx, req)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(bytes.NewReader(answer))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var row checkDoc
		if err := json.Unmarshal(lines.Bytes(), &row.Check); err != nil {
			return fmt.Errorf("%s answers /v1/doctor with something else than an agent does: is it one?", c.address)
		}
		if err := add(row); err != nil {
			return err
		}
	}
	return lines.Err()
}

// examination collects rows and prints them: as JSON as they come, as a table in the end.
type examination struct {
	out    io.Writer
	format string
	all    bool
	rows   []checkDoc
}

func (x *examination) add(row checkDoc) error {
	x.rows = append(x.rows, row)
	if x.format == formatJSON {
		return writeLine(x.out, row)
	}
	return nil
}

// end prints the table; what was found before an error counts, too.
func (x *examination) end(err error) error {
	if x.format == formatTable && len(x.rows) > 0 {
		if _, err := lipgloss.Fprintln(x.out, x.table()); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	for i := range x.rows {
		if x.rows[i].Result == api.CheckFail {
			return exitCode(exitBlocked)
		}
	}
	return nil
}

func (x *examination) table() string {
	slices.SortStableFunc(x.rows, func(a, b checkDoc) int { return cmp.Compare(a.Node, b.Node) })
	var rows [][]string
	count := map[api.CheckResult]int{}
	headers := []string{"RESULT", "CHECK", "SUBJECT", "FOUND"}
	for i := range x.rows {
		r := &x.rows[i]
		count[r.Result]++
		if r.Node != "" || len(headers) == 5 {
			headers = []string{"NODE", "RESULT", "CHECK", "SUBJECT", "FOUND"}
		}
	}
	for i := range x.rows {
		r := &x.rows[i]
		if !x.all && (r.Result == api.CheckOK || r.Result == api.CheckSkip) {
			continue
		}
		row := []string{resultText(r.Result), oneLine(r.Name), dash(r.Subject), dash(r.Message)}
		if r.Fix != "" {
			row[3] += "  " + dim("fix: ") + oneLine(r.Fix)
		}
		if len(headers) == 5 {
			row = append([]string{orElse(oneLine(r.Node), "controller")}, row...)
		}
		rows = append(rows, row)
	}
	text := fmt.Sprintf("%d ok, %d warn, %d fail, %d skipped", count[api.CheckOK], count[api.CheckWarn], count[api.CheckFail], count[api.CheckSkip])
	if len(rows) == 0 {
		return text
	}
	return columns(headers, rows) + "\n\n" + text
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

func resultText(r api.CheckResult) string {
	switch r {
	case api.CheckOK:
		return good(string(r))
	case api.CheckWarn:
		return busy(string(r))
	case api.CheckFail:
		return bad(string(r))
	case api.CheckSkip:
		return dim(string(r))
	}
	return oneLine(string(r))
}
