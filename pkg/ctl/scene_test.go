package ctl_test

import (
	"fmt"
	"strings"
	"time"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
)

const (
	revision = "3f2a9c1b7d5e4f60718293a4b5c6d7e8f9001122"
	digest   = "sha256:9c1b7d5e4f60718293a4b5c6d7e8f90011223f2a9c1b7d5e4f60718293a4b5c6"
	older    = "sha256:aaaabbbbccccddddeeeeffff00001111222233334444555566667777888899990"
)

// play puts the report into a scene.
func (f *fleet) play(scene string) error {
	r := f.report
	engine := func() {
		r.SetEngine(api.Engine{Reachable: true, Version: "20.10.24", APIVersion: "1.41", Driver: "overlay2"})
		r.SetDesired(&api.Desired{Revision: revision, Node: "b", Stacks: []api.Stack{{Name: "core", Project: "ktrdr"}}}, time.Now().Add(-2*time.Hour))
		r.SetSource(revision, time.Now(), nil)
	}
	f.back.setSync(nil)
	switch scene {
	case "starting":
	case "converged":
		engine()
		r.Planned("core", corePlan(nil), 0)
	case "pending":
		engine()
		r.Planned("core", corePlan(progressing), 0)
	case "blocked":
		engine()
		r.Planned("core", corePlan(blocked), 0)
	case "held":
		engine()
		r.Planned("core", corePlan(held), 0)
	case "nothing":
		engine()
		r.SetDesired(&api.Desired{Revision: revision, Node: "b"}, time.Time{})
	case "troubled":
		engine()
		r.Planned("core", corePlan(nil), 0)
		r.SetSource("beef", time.Now(), &api.Condition{
			Type: api.ConditionDegraded, Status: true, Reason: api.ReasonInvalid, Message: "revision beef is invalid: \x1b[31mred\x1b]0;title\a",
		})
	case "warned":
		engine()
		r.Planned("core", corePlan(nil), 0)
		r.SetNodeCondition("secrets-token-connect", &api.Condition{
			Type: api.ConditionWarning, Status: true, Reason: api.ReasonTokenExpiring, Object: "connect", Message: "the token expires in 9 days",
		})
	case "linked", "unlinked":
		engine()
		r.Planned("core", corePlan(nil), 0)
		link := api.Link{Connected: true, Endpoint: "controller.example:8443", Controller: "c1", Since: time.Now()}
		if scene == "unlinked" {
			link = api.Link{Endpoint: "controller.example:8443", Since: time.Now(), LastError: "refused\x1b[2J"}
		}
		r.SetLink(link)
	case "loaded":
		engine()
		r.SetEngine(api.Engine{Reachable: true})
		r.Planned("core", corePlan(nil), 0)
	case "down":
		engine()
		r.Planned("core", corePlan(nil), 0)
		r.SetEngine(api.Engine{})
		r.SetNodeCondition("engine", &api.Condition{
			Type: api.ConditionDegraded, Status: true, Reason: api.ReasonEngineDown, Message: "the engine does not answer",
		})
	case "rollout": // converges once it is asked to look
		engine()
		r.Planned("core", corePlan(progressing), 0)
		f.back.setSync(func() {
			r.SetSource(revision, time.Now(), nil)
			r.Planned("core", corePlan(nil), 0)
		})
	case "monitored": // converges, and is rolled back a moment later
		engine()
		r.Planned("core", corePlan(nil), 0)
		f.back.setSync(func() {
			r.SetSource(revision, time.Now(), nil)
			r.Planned("core", corePlan(monitored), 0)
			time.AfterFunc(time.Second, func() { r.Planned("core", corePlan(blocked), 0) })
		})
	case "secrets":
		f.secrets.Store(secretsWell())
	case "secrets-failing":
		f.secrets.Store(secretsFailing())
	case "facts":
		engine()
		r.Planned("core", corePlan(withFacts), 0)
		r.SetRegistrations(map[string]api.RegistrationStatus{
			"abcdef0123456789": {Reason: api.ReasonNotRegistered, Message: "http://backend/ lists 0, none with id=\x1b[2Jb", Since: time.Now().Add(-2 * time.Minute)},
			"0123456789abcdef": {Registered: true, State: "busy", Since: time.Now().Add(-time.Hour)},
		}, []api.RegistrarStatus{{URL: "http://backend/", OK: true, CheckedAt: time.Now()}})
		r.SetBackups([]api.BackupStatus{
			{Name: "db", Stack: "core", OK: true, File: "ktrdr-1.dump", Size: 5 << 20, Time: time.Now().Add(-3 * time.Hour)},
			{Name: "files", Reason: api.ReasonBackupMissing, Message: "no file in /mnt/b matches *"},
		})
	case "stuck": // looks, and finds a blocked stack
		engine()
		r.Planned("core", corePlan(progressing), 0)
		f.back.setSync(func() {
			r.SetSource(revision, time.Now(), nil)
			r.Planned("core", corePlan(blocked), 0)
		})
	default:
		return fmt.Errorf("no scene %q", scene)
	}
	return nil
}

// withFacts is a stack that has converged with a warning, and waits for a rotation.
func withFacts(p *plan.Plan) {
	p.Status.Conditions = []api.Condition{{
		Type: api.ConditionWarning, Status: true, Reason: api.ReasonNotRegistered, Object: "ktrdr-backend", Message: "http://backend/ lists 0",
	}}
	p.Status.Secrets = []api.StackSecret{
		{Reference: "op://v/i/new", Generation: 1, Since: time.Now().Add(-time.Hour)},
		{Reference: "op://v/i/old", Generation: 1, Wanted: 2, Since: time.Now().Add(-time.Hour), Phase: api.SecretStale, ConfirmedAt: time.Now()},
	}
}

// corePlan is a plan of one stack of two containers, after change.
func corePlan(change func(*plan.Plan)) *plan.Plan {
	p := &plan.Plan{Stack: "core", Revision: revision, Ops: []plan.Op{}, Status: api.StackStatus{
		Name: "core", Project: "ktrdr", Converged: true, Reason: api.ReasonConverged,
		Services: []api.ServiceStatus{
			{
				Service: "db", Container: "ktrdr-db", ID: "0123456789abcdef", Image: "docker.io/timescale/timescaledb:2.11-pg15", Wanted: digest, Actual: digest,
				State: "running", Health: api.HealthHealthy, Converged: true, Reason: api.ReasonConverged, StartedAt: time.Now().Add(-73 * time.Hour),
			},
			{
				Service: "backend", Container: "ktrdr-backend", ID: "abcdef0123456789", Image: "ghcr.io/k/backend:sha-a1", Wanted: digest, Actual: digest,
				State: "running", Converged: true, Reason: api.ReasonConverged, StartedAt: time.Now().Add(-90 * time.Minute), Restarts: 3,
			},
		},
	}}
	if change != nil {
		change(p)
	}
	return p
}

func unconverged(p *plan.Plan, reason api.Reason, message string) *api.ServiceStatus {
	p.Status.Converged, p.Status.Reason, p.Status.Message = false, reason, strings.TrimSuffix("ktrdr-backend: "+message, ": ")
	svc := &p.Status.Services[1]
	svc.Converged, svc.Reason, svc.Message, svc.Actual = false, reason, message, older
	return svc
}

func progressing(p *plan.Plan) {
	svc := unconverged(p, api.ReasonProgressing, "")
	svc.Image, svc.Running = "ghcr.io/k/backend:sha-b2", "ghcr.io/k/backend:sha-a1"
	p.Ops = []plan.Op{
		{Key: "pull/backend", Kind: plan.Pull, Object: "ghcr.io/k/backend:sha-b2", Cause: "it is not on this node"},
		{
			Key: "create/backend", Kind: plan.Create, Object: "ktrdr-backend", Service: "backend", Cause: "its image changed",
			Diff: []plan.FieldDiff{{Path: "image", Have: "sha-a1", Want: "sha-b2"}}, Needs: []string{"pull/backend"},
		},
	}
	for i := range p.Ops {
		p.Status.Pending = append(p.Status.Pending, p.Ops[i].String())
	}
}

// monitored is an update that runs well so far.
func monitored(p *plan.Plan) {
	p.Status.Rollout = &api.RolloutStatus{Phase: string(plan.Updating), Good: "beef"}
}

func blocked(p *plan.Plan) {
	unconverged(p, api.ReasonDataUnprotected, "data in /var/lib/data would be lost")
	p.Status.Conditions = []api.Condition{{
		Type: api.ConditionBlocked, Status: true, Reason: api.ReasonDataUnprotected, Object: "ktrdr-backend", Message: "data in /var/lib/data would be lost",
	}}
}

func held(p *plan.Plan) {
	progressing(p)
	p.Held = true
	p.Status.Reason = api.ReasonOnHold
	p.Status.Hold = &api.Hold{Why: "database maintenance", Who: "me@here", Since: time.Now(), Until: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
}
