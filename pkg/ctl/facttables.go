package ctl

import (
	"fmt"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// factTables are what is known beside the containers: registrations, secrets, mounts and
// backups. Each is left out where no node has any.
func (d *document) factTables() []string {
	var registrations, secrets, mounts, backups [][]string
	for i := range d.Nodes {
		st := d.Nodes[i].Status
		if st == nil {
			continue
		}
		node := oneLine(d.Nodes[i].Name)
		for j := range st.Stacks {
			registrations = append(registrations, registrationRows(node, st.Time, &st.Stacks[j])...)
			secrets = append(secrets, secretRows(node, st.Time, &st.Stacks[j])...)
		}
		for _, m := range st.Mounts {
			mounts = append(mounts, []string{node, oneLine(m.Path), okText(m.OK, m.Reason), dash(m.Message)})
		}
		for _, b := range st.Backups {
			backups = append(backups, backupRow(node, st.Time, b))
		}
	}
	var tables []string
	for _, table := range []struct {
		headers []string
		rows    [][]string
	}{
		{[]string{"NODE", "STACK", "CONTAINER", "REGISTERED", "STATE", "FOR", "MESSAGE"}, registrations},
		{[]string{"NODE", "STACK", "SECRET", "GENERATION", "STATE", "AGE"}, secrets},
		{[]string{"NODE", "MOUNT", "STATE", "MESSAGE"}, mounts},
		{[]string{"NODE", "BACKUP", "STATE", "AGE", "SIZE", "FILE", "MESSAGE"}, backups},
	} {
		if len(table.rows) > 0 {
			tables = append(tables, columns(table.headers, table.rows))
		}
	}
	return tables
}

func registrationRows(node string, now time.Time, s *api.StackStatus) [][]string {
	var rows [][]string
	for i := range s.Services {
		svc := &s.Services[i]
		if svc.Registration == nil {
			continue
		}
		r := svc.Registration
		rows = append(rows, []string{
			node, oneLine(s.Name), oneLine(svc.Container), okText(r.Registered, r.Reason), dash(r.State), since(now, r.Since), dash(r.Message),
		})
	}
	return rows
}

func secretRows(node string, now time.Time, s *api.StackStatus) [][]string {
	var rows [][]string
	for _, secret := range s.Secrets {
		generation, state := fmt.Sprint(secret.Generation), good(string(api.SecretFresh))
		if secret.Wanted != 0 {
			generation += busy(fmt.Sprintf(" -> %d", secret.Wanted))
		}
		if secret.Phase != "" {
			state = busy(oneLine(string(secret.Phase)))
		}
		rows = append(rows, []string{node, oneLine(s.Name), oneLine(secret.Reference), generation, state, since(now, secret.Since)})
	}
	return rows
}

func backupRow(node string, now time.Time, b api.BackupStatus) []string {
	name, size := b.Name, "-"
	if b.Stack != "" {
		name = b.Stack + "/" + name
	}
	if !b.Time.IsZero() {
		size = api.ByteSize(b.Size).String()
	}
	return []string{node, oneLine(name), okText(b.OK, b.Reason), since(now, b.Time), size, dash(b.File), dash(b.Message)}
}

func okText(ok bool, reason api.Reason) string { //nolint:revive // what a table shows
	if ok {
		return good("ok")
	}
	return busy(dash(strings.TrimSpace(string(reason))))
}
