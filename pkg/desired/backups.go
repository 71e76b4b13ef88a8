package desired

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
)

// Defaults of a watched backup.
const (
	defaultBackupLook = 5 * time.Minute
	defaultBackupSize = 1
)

// checkBackups checks what needs no variables.
func (d *document) checkBackups(backups []api.BackupSpec) {
	seen := map[string]bool{}
	for i, spec := range backups {
		at := fmt.Sprintf("spec.backups[%d]", i)
		if !dnsLabel.MatchString(spec.Name) {
			d.problem(at+".name", `must have lower case letters, digits and "-" only`)
		} else if seen[spec.Name] {
			d.problem(at+".name", "is there twice")
		}
		seen[spec.Name] = true
		d.checkWatch(at+".watch", spec.Watch)
	}
}

func (d *document) checkWatch(at string, watch api.BackupWatchSpec) {
	if _, err := path.Match(watch.Pattern, ""); err != nil || strings.Contains(watch.Pattern, "/") {
		d.problem(at+".pattern", `must be a pattern for names of files in the folder, such as "ktrdr-*.dump"`)
	}
	if watch.MaxAge == 0 && d.has(at+".maxAge") {
		d.problem(at+".maxAge", "must be more than 0, such as 26h for a backup that runs every day")
	}
	if interval := time.Duration(watch.Interval); interval != 0 && interval < time.Second {
		d.problem(at+".interval", "must be at least 1s")
	}
}

// backups resolves the paths of watched backups; they are sorted by name.
func backups(specs []api.BackupSpec, expand func(at, text string) string) []api.Backup {
	var out []api.Backup
	for i, spec := range specs {
		out = append(out, api.Backup{
			Name: spec.Name, Path: expand(fmt.Sprintf("spec.backups[%d].watch.path", i), spec.Watch.Path),
			Pattern: orDefault(spec.Watch.Pattern, "*"), MaxAge: time.Duration(spec.Watch.MaxAge),
			MinSize:  orDefault(int64(spec.Watch.MinSize), defaultBackupSize),
			Interval: orDefault(time.Duration(spec.Watch.Interval), defaultBackupLook),
		})
	}
	slices.SortFunc(out, func(x, y api.Backup) int { return cmp.Compare(x.Name, y.Name) })
	return out
}

// backups are those of the stack.
func (b *stackBuild) backups() []api.Backup {
	return backups(b.stack.Spec.Backups, func(at, text string) string {
		return b.plainHostPath(text, b.stack.doc.at(at))
	})
}

// plainHostPath is a host path that a status shows.
func (b *stackBuild) plainHostPath(text string, at Problem) string {
	value := b.hostPath(text, at)
	if api.HasReference(value) {
		b.fail(at, "holds a secret: the path is shown in the status")
		return ""
	}
	return value
}

// backups are those of the node itself; they see the variables of fleet and node.
func (b *nodeBuild) backups() []api.Backup {
	if len(b.node.Spec.Backups) == 0 {
		return nil
	}
	b.vars = newVariables(b.report,
		scope{doc: b.fleet.doc, path: "spec.variables", values: b.fleet.Spec.Variables},
		scope{doc: b.node.doc, path: "spec.variables", values: b.node.Spec.Variables},
	)
	b.vars.set(map[string]string{varNodeName: b.name()})
	if b.node.Spec.Hostname != "" {
		b.vars.set(map[string]string{varNodeHostname: b.node.Spec.Hostname})
	}
	own := &stackBuild{node: b, vars: b.vars}
	return backups(b.node.Spec.Backups, func(at, text string) string {
		return own.plainHostPath(text, b.node.doc.at(at))
	})
}
