package report

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/telemetry"
)

// facts are what was found beside the engine. The report's lock guards them.
type facts struct {
	// registrations by id of the container.
	registrations map[string]api.RegistrationStatus
	registrars    []api.RegistrarStatus
	backups       []api.BackupStatus
}

// SetRegistrations notes all that is known of registrations: by id of the container, and the
// addresses that were asked. When an address was asked last is no change.
func (r *Report) SetRegistrations(byID map[string]api.RegistrationStatus, registrars []api.RegistrarStatus) {
	untimed := func(a, b api.RegistrarStatus) bool {
		a.CheckedAt, b.CheckedAt = time.Time{}, time.Time{}
		return a == b
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	same := maps.Equal(r.facts.registrations, byID) && slices.EqualFunc(r.facts.registrars, registrars, untimed)
	r.facts.registrations, r.facts.registrars = maps.Clone(byID), slices.Clone(registrars)
	if !same {
		r.touch()
	}
}

// SetBackups notes the last look at all backups that are watched. Each that is not as wanted
// is a warning of the node.
func (r *Report) SetBackups(list []api.BackupStatus) {
	list = slices.SortedFunc(slices.Values(list), func(a, b api.BackupStatus) int {
		return cmp.Or(cmp.Compare(a.Stack, b.Stack), cmp.Compare(a.Name, b.Name))
	})
	r.mu.Lock()
	bad := map[string]*api.Condition{}
	for i := range r.facts.backups {
		bad[BackupObject(r.facts.backups[i])] = nil
	}
	for _, b := range list {
		bad[BackupObject(b)] = backupCondition(b)
	}
	r.facts.backups = list
	var news []incident
	for _, object := range sortedKeys(bad) {
		news = append(news, r.putCondition("backup "+object, bad[object])...)
	}
	r.touch()
	r.mu.Unlock()
	r.events.add(news...)
}

// BackupObject is what a condition and an event call a backup: its name, with the stack's
// before it where a stack declares it.
func BackupObject(b api.BackupStatus) string {
	if b.Stack == "" {
		return b.Name
	}
	return b.Stack + "/" + b.Name
}

func backupCondition(b api.BackupStatus) *api.Condition {
	if b.OK || b.Reason == "" {
		return nil
	}
	return &api.Condition{Type: api.ConditionWarning, Status: true, Reason: b.Reason, Message: b.Message, Object: BackupObject(b)}
}

// addFacts puts what was found beside the engine into the status of a stack. The caller holds
// the lock.
func (r *Report) addFacts(st *api.StackStatus, inForce map[string]string) {
	for i := range st.Services {
		if found, ok := r.facts.registrations[st.Services[i].ID]; ok && st.Services[i].ID != "" {
			st.Services[i].Registration = &found
		}
	}
	if r.stackSecrets != nil {
		st.Secrets = r.stackSecrets(st.Name, inForce)
	}
}

// measuredFacts is what the metrics say about them.
func (r *Report) measuredFacts() telemetry.Facts {
	st := r.Status()
	var out telemetry.Facts
	for i := range st.Stacks {
		for j := range st.Stacks[i].Services {
			if svc := &st.Stacks[i].Services[j]; svc.Registration != nil {
				out.Registrations = append(out.Registrations, telemetry.Registration{
					Stack: st.Stacks[i].Name, Service: svc.Service, Container: svc.Container, Registered: svc.Registration.Registered,
				})
			}
		}
	}
	for _, f := range st.Registrars {
		if !f.CheckedAt.IsZero() {
			out.Registrars = append(out.Registrars, telemetry.Registrar{URL: f.URL, Up: f.OK})
		}
	}
	for _, b := range st.Backups {
		out.Backups = append(out.Backups, telemetry.Backup{Name: BackupObject(b), OK: b.OK, Size: b.Size, Time: b.Time})
	}
	return out
}
