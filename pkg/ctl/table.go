package ctl

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// agentText is the status of one agent.
func (d *document) agentText(wide bool) string { //nolint:revive // the format decides about columns, not about what happens
	st := d.Nodes[0].Status
	parts := []string{strings.Join(nodeLines(st), "\n")}
	if len(st.Stacks) > 0 {
		parts = append(parts, stackTable(st, wide))
	}
	if wide {
		parts = append(parts, d.factTables()...)
	}
	if list := troubles("node", st); len(list) > 0 {
		parts = append(parts, strings.Join(list, "\n"))
	}
	return strings.Join(parts, "\n\n")
}

// nodeLines say who speaks and what is in force there.
func nodeLines(st *api.NodeStatus) []string {
	revision := "no desired state yet"
	if st.Revision != "" {
		revision = "revision " + short(st.Revision)
		if !st.RevisionTime.IsZero() {
			revision += " (" + since(st.Time, st.RevisionTime) + " old)"
		}
	}
	if st.SourceRevision != "" && st.SourceRevision != st.Revision {
		revision += ", " + busy("source is at "+short(st.SourceRevision))
	}
	if !st.SourceCheckAt.IsZero() {
		revision += ", looked " + since(st.Time, st.SourceCheckAt) + " ago"
	}
	ready := ""
	if !st.Ready {
		ready = "  " + busy("not ready")
	}
	lines := []string{fmt.Sprintf("%s  %s  %s  agent %s%s", bold("node "+oneLine(st.Node)), revision, engineText(st), dash(st.Version), ready)}
	if st.Link != nil {
		lines = append(lines, linkText(st))
	}
	return lines
}

// linkText says how the connection to the controller is.
func linkText(st *api.NodeStatus) string {
	l := st.Link
	where := "controller " + dash(oneLine(l.Endpoint))
	if l.Controller != "" {
		where += " (" + oneLine(l.Controller) + ")"
	}
	age := ""
	if !l.Since.IsZero() {
		age = " for " + since(st.Time, l.Since)
	}
	switch {
	case l.Connected:
		return where + "  connected" + age
	case l.LastError == "":
		return where + "  " + busy("connecting")
	}
	return where + "  " + busy("not connected"+age) + ": " + oneLine(l.LastError)
}

// engineText says what is known of the engine. An agent that has just started knows nothing
// of it before its first answer, or its first failure, which is a condition.
func engineText(st *api.NodeStatus) string {
	failed := slices.ContainsFunc(st.Conditions, func(c api.Condition) bool {
		return slices.Contains([]api.Reason{api.ReasonEngineDown, api.ReasonEngineHung, api.ReasonEngineFailed}, c.Reason)
	})
	switch {
	case st.Engine.Reachable && st.Engine.Version == "":
		return "engine answers, " + busy("version not known yet")
	case st.Engine.Reachable:
		return fmt.Sprintf("engine %s (API %s, %s)", dash(st.Engine.Version), dash(st.Engine.APIVersion), dash(st.Engine.Driver))
	case !st.Ready && !failed:
		return busy("engine not known yet")
	}
	return bad("engine does not answer")
}

func dash(text string) string {
	if text = oneLine(text); text == "" {
		return "-"
	}
	return text
}

func stackTable(st *api.NodeStatus, wide bool) string { //nolint:revive // the format decides about columns, not about what happens
	return columns(serviceHeaders(wide), serviceRows(st, wide, ""))
}

func serviceHeaders(wide bool) []string { //nolint:revive // the format decides about columns, not about what happens
	headers := []string{"STACK", "SERVICE", "CONTAINER", "STATE", "HEALTH", "IMAGE", "REASON", "AGE"}
	if wide {
		headers = append(headers, "RESTARTS", "ID", "WANTED", "MESSAGE")
	}
	return headers
}

// serviceRows are one row for each container; doubt stands in the place of their reasons
// when the status may not be true any more.
func serviceRows(st *api.NodeStatus, wide bool, doubt api.Reason) [][]string { //nolint:revive // the format decides about columns, not about what happens
	headers := serviceHeaders(wide)
	reason := func(r api.Reason) string { return reasonText(cmp.Or(doubt, r)) }
	var rows [][]string
	for i := range st.Stacks {
		stack := &st.Stacks[i]
		if len(stack.Services) == 0 {
			rows = append(rows, padded([]string{oneLine(stack.Name), "-", "-", "-", "-", "-", reason(stack.Reason), "-"}, len(headers)))
		}
		for j := range stack.Services {
			svc := &stack.Services[j]
			row := []string{
				oneLine(stack.Name), dash(svc.Service), dash(svc.Container), dash(svc.State), healthText(svc.Health),
				image(svc), reason(svc.Reason), since(st.Time, svc.StartedAt),
			}
			if wide {
				row = append(row, strconv.Itoa(svc.Restarts), dash(short(svc.ID)), dash(short(svc.Wanted)), dash(svc.Message))
			}
			rows = append(rows, row)
		}
	}
	return rows
}

func padded(row []string, n int) []string {
	for len(row) < n {
		row = append(row, "-")
	}
	return row
}

// image is the last part of the reference with its tag, and what runs of it.
func image(svc *api.ServiceStatus) string {
	name := lastPart(svc.Image)
	switch {
	case svc.Running != "" && lastPart(svc.Running) != name:
		return lastPart(svc.Running) + " " + dim(short(svc.Actual)) + " " + busy("-> "+name)
	case svc.Actual == "" && svc.Wanted == "":
		return dash(name)
	case svc.Actual == "" || svc.Actual == svc.Wanted || svc.Wanted == "":
		digest := svc.Actual
		if digest == "" {
			digest = svc.Wanted
		}
		return name + " " + dim(short(digest))
	}
	return name + " " + busy(short(svc.Actual)+" -> "+short(svc.Wanted))
}

// lastPart of an image's reference is its name and tag.
func lastPart(ref string) string {
	name, _, _ := strings.Cut(oneLine(ref), "@")
	return name[strings.LastIndexByte(name, '/')+1:]
}

// troubles are all that is not as wanted, each with its fix. owner is what the node is
// called; stacks of another one than "node" are called NODE/STACK.
func troubles(owner string, st *api.NodeStatus) []string {
	var list []string
	prefix := ""
	if owner != "node" {
		prefix = owner + "/"
	}
	for _, c := range st.Conditions {
		list = append(list, trouble(st.Time, owner, c)...)
	}
	for _, m := range st.Mounts {
		if !m.OK {
			list = append(list, trouble(st.Time, prefix+"mount", api.Condition{
				Type: api.ConditionDegraded, Status: true, Reason: m.Reason, Message: m.Message, Object: m.Path,
			})...)
		}
	}
	for i := range st.Stacks {
		list = append(list, stackTroubles(st.Time, prefix, &st.Stacks[i])...)
	}
	return list
}

func stackTroubles(now time.Time, prefix string, s *api.StackStatus) []string {
	var list []string
	name := prefix + s.Name
	if h := s.Hold; h != nil {
		until := "until resumed"
		if !h.Until.IsZero() {
			until = "until " + h.Until.Local().Format("2006-01-02 15:04:05")
		}
		list = append(list, fmt.Sprintf("%s  %s  %s, %s: %s", busy("OnHold"), oneLine(name), until, dash(h.Who), oneLine(h.Why)),
			"    "+dim("fix: ")+"ktrdrctl resume "+oneLine(s.Name))
	}
	for _, c := range s.Conditions {
		list = append(list, trouble(now, name, c)...)
		if r := s.Rollout; r != nil && r.Failed != nil && c.Object == r.Failed.Container && isRollout(c.Reason) {
			for _, line := range r.Failed.Log {
				list = append(list, "    "+dim("log: ")+oneLine(line))
			}
		}
	}
	if !s.Converged && len(list) == 0 && s.Message != "" {
		list = append(list, fmt.Sprintf("%s  %s  %s", reasonText(s.Reason), oneLine(name), oneLine(s.Message)))
	}
	return list
}

// isRollout says that a condition is about an update that failed.
func isRollout(r api.Reason) bool {
	return r == api.ReasonRollingBack || r == api.ReasonRolledBack || r == api.ReasonUpdatePaused
}

// trouble is a condition in two lines: what is, and what to do about it.
func trouble(now time.Time, owner string, c api.Condition) []string {
	if !c.Status || c.Type == api.ConditionConverged {
		return nil
	}
	about := oneLine(owner)
	if c.Object != "" {
		about += "/" + oneLine(c.Object)
	}
	head := busy(oneLine(c.Type) + " " + oneLine(string(c.Reason)))
	if c.Type == api.ConditionBlocked {
		head = bad(oneLine(c.Type) + " " + oneLine(string(c.Reason)))
	}
	if !c.Since.IsZero() {
		about += dim(" (" + since(now, c.Since) + ")")
	}
	lines := []string{fmt.Sprintf("%s  %s  %s", head, about, oneLine(c.Message))}
	if fix := fixOf(c.Reason); fix != "" {
		lines = append(lines, "    "+dim("fix: ")+fix)
	}
	return lines
}
