package ctl

import (
	"fmt"
	"slices"
	"strings"

	"ktrdr.io/fleet/pkg/api"
)

// text is the document for people.
func (d *document) text(wide bool) string { //nolint:revive // the format decides about columns, not about what happens
	if d.Controller == nil && len(d.Nodes) == 1 && d.Nodes[0].Status != nil {
		return d.agentText(wide)
	}
	parts := []string{strings.Join(d.headLines(), "\n")}
	if len(d.Nodes) > 0 {
		parts = append(parts, d.nodeTable(wide))
	}
	if table := d.serviceTable(wide); table != "" {
		parts = append(parts, table)
	}
	if wide {
		parts = append(parts, d.factTables()...)
	}
	if list := d.troubles(); len(list) > 0 {
		parts = append(parts, strings.Join(list, "\n"))
	}
	return strings.Join(parts, "\n\n")
}

// headLines say which fleet it is, what is the newest commit and how its rollout goes.
func (d *document) headLines() []string {
	line := bold("fleet " + dash(d.Fleet))
	if h := d.Head; h != nil {
		line += fmt.Sprintf("  head %s %s", short(h.Revision), dash(h.Subject))
		if !h.Time.IsZero() {
			line += " (" + since(d.Time, h.Time) + " old)"
		}
	} else {
		line += "  no revision yet"
	}
	if c := d.Controller; c != nil {
		line += "  controller " + dash(c.Version)
	}
	lines := []string{line}
	if d.Rollout != nil {
		lines = append(lines, d.rolloutLine())
	}
	return lines
}

func (d *document) rolloutLine() string {
	r := d.Rollout
	line := fmt.Sprintf("rollout %s %s", short(r.Revision), rolloutPhase(r.Phase))
	if i := slices.IndexFunc(r.Waves, func(w waveDoc) bool { return w.Phase == phaseRunning || w.Phase == phaseFailed }); i >= 0 {
		line += fmt.Sprintf(", wave %d of %d (%s) %s", i+1, len(r.Waves), dash(r.Waves[i].Name), oneLine(r.Waves[i].Phase))
	}
	switch {
	case !r.Ended.IsZero():
		line += ", " + since(d.Time, r.Ended) + " ago"
	case !r.Started.IsZero():
		line += ", for " + since(d.Time, r.Started)
	}
	if r.Message != "" {
		line += ": " + oneLine(r.Message)
	}
	return line
}

func rolloutPhase(phase string) string {
	switch phase {
	case phaseSucceeded:
		return good(phase)
	case phaseFailed:
		return bad(phase)
	}
	return busy(oneLine(phase))
}

func (d *document) nodeTable(wide bool) string { //nolint:revive // the format decides about columns, not about what happens
	headers := []string{"NODE", "REASON", "STACKS", "REVISION", "AGENT", "SEEN", "NOTE"}
	if wide {
		headers = []string{"NODE", "REASON", "STACKS", "REVISION", "TARGET", "AGENT", "ENGINE", "ADDRESS", "CERTIFICATE", "SEEN", "NOTE"}
	}
	rows := make([][]string, 0, len(d.Nodes))
	for i := range d.Nodes {
		n := &d.Nodes[i]
		stacks, revision, engine := "-", "-", "-"
		if st := n.Status; st != nil {
			stacks, revision, engine = stackCount(st), dash(short(st.Revision)), dash(st.Engine.Version)
		}
		row := []string{oneLine(n.Name), reasonText(n.Reason), stacks, revision}
		if wide {
			row = append(row, dash(short(n.Target)))
		}
		row = append(row, dash(n.Version))
		if wide {
			row = append(row, engine, dash(n.Address), d.until(n))
		}
		rows = append(rows, append(row, since(d.Time, n.Seen), dash(strings.Join(nodeNotes(n), "; "))))
	}
	return columns(headers, rows)
}

func stackCount(st *api.NodeStatus) string {
	converged := 0
	for i := range st.Stacks {
		if st.Stacks[i].Converged {
			converged++
		}
	}
	return fmt.Sprintf("%d/%d", converged, len(st.Stacks))
}

// until is how long a node's certificate is good for.
func (d *document) until(n *nodeDoc) string {
	if n.CertificateEnds.IsZero() {
		return "-"
	}
	if left := since(n.CertificateEnds, d.Time); n.CertificateEnds.After(d.Time) {
		return left
	}
	return bad("ended")
}

func nodeNotes(n *nodeDoc) []string {
	var notes []string
	if n.Cordon != nil {
		note := "cordoned by " + dash(n.Cordon.By)
		if n.Cordon.Why != "" {
			note += ": " + oneLine(n.Cordon.Why)
		}
		notes = append(notes, note)
	}
	if n.Status != nil && n.Target != "" && !n.Accepted && n.Connected {
		notes = append(notes, "gets "+short(n.Target))
	}
	return notes
}

func (d *document) serviceTable(wide bool) string { //nolint:revive // the format decides about columns, not about what happens
	var rows [][]string
	for i := range d.Nodes {
		n := &d.Nodes[i]
		if n.Status == nil {
			continue
		}
		var doubt api.Reason
		if !n.Connected {
			doubt = n.Reason
		}
		for _, row := range serviceRows(n.Status, wide, doubt) {
			rows = append(rows, append([]string{oneLine(n.Name)}, row...))
		}
	}
	if len(rows) == 0 {
		return ""
	}
	return columns(append([]string{"NODE"}, serviceHeaders(wide)...), rows)
}

// troubles are all that is not as wanted, each with its fix.
func (d *document) troubles() []string {
	var list []string
	if d.Controller != nil {
		for _, c := range d.Controller.Conditions {
			list = append(list, trouble(d.Time, "controller", c)...)
		}
	}
	if r := d.Rollout; r != nil && r.Phase == phaseFailed && !d.onlyUnreachable() {
		list = append(list, trouble(d.Time, "rollout", api.Condition{
			Type: api.ConditionBlocked, Status: true, Reason: ReasonRolloutFailed, Message: r.Message, Object: short(r.Revision), Since: r.Ended,
		})...)
	}
	for i := range d.Nodes {
		list = append(list, d.Nodes[i].troubles(d)...)
	}
	return list
}

func (n *nodeDoc) troubles(d *document) []string {
	var list []string
	if !n.Converged && n.isOwnReason() {
		kind := api.ConditionDegraded
		if n.code() == exitBlocked {
			kind = api.ConditionBlocked
		}
		list = trouble(d.Time, n.Name, api.Condition{Type: kind, Status: true, Reason: n.Reason, Message: n.Message})
	}
	if n.Status != nil && n.Connected {
		list = append(list, troubles(n.Name, n.Status)...)
	}
	return list
}

// isOwnReason says that the reason is not from the agent's status, which tells it itself.
func (n *nodeDoc) isOwnReason() bool {
	return !n.Connected || n.Status == nil || n.Refused != nil && n.Refused.Status
}
