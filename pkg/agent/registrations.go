package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/pkg/agent/internal/probe"
	"ktrdr.io/fleet/pkg/api"
)

const (
	// registrationTick is how often it is looked at which registrars are due.
	registrationTick = time.Second
	// hurry is the longest pause while a rollout may wait for a service to be registered.
	hurry = 5 * time.Second
	// maxStateWord bounds the word that an entry says about a service, in bytes.
	maxStateWord = 64
)

// registering is a running container whose service registers somewhere.
type registering struct {
	id      string
	name    string
	started time.Time
	reg     *api.Registration
}

// registrationFeed asks who is registered and publishes what that says about the node's
// containers. It belongs to one goroutine but for its bell.
type registrationFeed struct {
	ask    func(ctx context.Context, url string, timeout time.Duration) ([]probe.Entry, error)
	admit  func(r registering) error
	wanted func() []registering
	// fact gets what the planner has to know, by id of the container.
	fact    func(id string, f *api.RegistrationFact)
	publish func(byID map[string]api.RegistrationStatus, registrars []api.RegistrarStatus)
	bell    chan struct{}

	registrars map[string]*registrar // by URL
	states     map[string]*listing   // by id of the container
	stale      bool                  // something has to be published
}

// registrar is one address; the last look at it.
type registrar struct {
	at      time.Time
	entries []probe.Entry
	err     error
}

// listing is what is known of one container.
type listing struct {
	fact  api.RegistrationFact
	state string
}

func (a *Agent) newRegistrationFeed() *registrationFeed {
	return &registrationFeed{
		ask: probe.Registered, wanted: a.registering, publish: a.report.SetRegistrations, bell: make(chan struct{}, 1),
		admit: func(r registering) error { return a.gate.AdmitRegistrar("registration.url of "+r.name, r.reg.URL) },
		fact: func(id string, fact *api.RegistrationFact) {
			a.cache.SetFacts(id, func(f *api.ContainerFacts) { f.Registration = fact })
		},
		registrars: map[string]*registrar{}, states: map[string]*listing{},
	}
}

// registering are the running containers of the stacks that containers follow now.
func (a *Agent) registering() []registering {
	obs := a.cache.Snapshot()
	wanted := map[[3]string]*api.Registration{}
	for _, stack := range a.inForce() {
		if len(a.gate.Denied(stack)) > 0 {
			continue
		}
		for i := range stack.Services {
			for j := range stack.Services[i].Replicas {
				if rep := &stack.Services[i].Replicas[j]; rep.Registration != nil {
					wanted[[3]string{stack.Project, stack.Services[i].Name, rep.Name}] = rep.Registration
				}
			}
		}
	}
	var list []registering
	for _, c := range obs.Containers {
		reg := wanted[[3]string{c.Labels[api.LabelProject], c.Labels[api.LabelService], c.Name}]
		if reg != nil && c.State == api.StateRunning {
			list = append(list, registering{c.ID, c.Name, c.StartedAt, reg})
		}
	}
	slices.SortFunc(list, func(x, y registering) int { return strings.Compare(x.name, y.name) })
	return list
}

func (f *registrationFeed) run(ctx context.Context) error {
	ticker := time.NewTicker(registrationTick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.bell:
		case <-ticker.C:
		}
		f.round(ctx)
	}
}

// round asks the registrars that are due, one request each, side by side.
func (f *registrationFeed) round(ctx context.Context) {
	byURL := map[string][]registering{}
	running := map[string]bool{}
	for _, r := range f.wanted() {
		byURL[r.reg.URL] = append(byURL[r.reg.URL], r)
		running[r.id] = true
	}
	f.forget(byURL, running)
	var g errgroup.Group
	g.SetLimit(8)
	var due []string
	for _, url := range slices.Sorted(maps.Keys(byURL)) {
		if f.registrars[url] == nil {
			f.registrars[url] = &registrar{}
		}
		look := f.registrars[url]
		if time.Since(look.at) < f.pause(byURL[url]) {
			continue
		}
		due = append(due, url)
		g.Go(func() error {
			f.look(ctx, look, byURL[url])
			return nil
		})
	}
	_ = g.Wait()
	if ctx.Err() != nil || len(due) == 0 && !f.stale {
		return
	}
	var taken []registering
	for _, url := range due {
		for _, r := range byURL[url] {
			f.take(r, f.registrars[url])
			taken = append(taken, r)
		}
	}
	f.tell() // before what follows from it is planned
	for _, r := range taken {
		told := f.states[r.id].fact
		f.fact(r.id, &told)
	}
}

// pause is the time between two looks for the sake of all of one registrar.
func (f *registrationFeed) pause(list []registering) time.Duration {
	pause := list[0].reg.Interval
	for _, r := range list {
		pause = min(pause, r.reg.Interval)
		known := f.states[r.id]
		waits := known == nil || !known.fact.For.Equal(r.started) || !known.fact.Registered && !known.fact.Lost
		if r.reg.Required && waits && time.Since(r.started) < r.reg.Grace {
			pause = min(pause, hurry)
		}
	}
	return pause
}

func (f *registrationFeed) look(ctx context.Context, into *registrar, list []registering) {
	timeout := list[0].reg.Timeout
	for _, r := range list {
		timeout = max(timeout, r.reg.Timeout)
	}
	if into.err = f.admit(list[0]); into.err == nil {
		into.entries, into.err = f.ask(ctx, list[0].reg.URL, timeout)
	}
	into.at = time.Now()
}

// take holds a container against the last look.
func (f *registrationFeed) take(r registering, look *registrar) {
	known := f.states[r.id]
	if known == nil || !known.fact.For.Equal(r.started) {
		known = &listing{fact: api.RegistrationFact{For: r.started, Since: look.at}}
		f.states[r.id] = known
	}
	known.fact, known.state = nextRegistration(r, known.fact, look)
}

// nextRegistration is what is known of a container after a look, and the word of its entry.
func nextRegistration(r registering, before api.RegistrationFact, look *registrar) (fact api.RegistrationFact, state string) {
	fact = api.RegistrationFact{For: before.For, Since: before.Since, Lost: before.Lost || before.Registered}
	at := slices.IndexFunc(look.entries, func(e probe.Entry) bool { return look.err == nil && e.Matches(r.reg.Match) })
	switch {
	case look.err != nil:
		fact.Reason, fact.Message = registrarFailure(look.err), look.err.Error()
	case at < 0:
		fact.Reason = api.ReasonNotRegistered
		fact.Message = fmt.Sprintf("%s lists %d, none with %s", withoutQuery(r.reg.URL), len(look.entries), fields(r.reg.Match))
	default:
		fact.Registered, fact.Lost = true, false
		if r.reg.State != "" {
			state = word(look.entries[at].Text(r.reg.State))
		}
	}
	if fact.Registered != before.Registered {
		fact.Since = look.at
	}
	return fact, state
}

func registrarFailure(err error) api.Reason {
	var failed interface {
		Failure() (api.ErrorClass, api.Reason)
	}
	if errors.As(err, &failed) {
		_, reason := failed.Failure()
		return reason
	}
	return api.ReasonRegistrarDown
}

// fields are what an entry has to have, as a message shows it.
func fields(match map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(match)) {
		list = append(list, name+"="+match[name])
	}
	return strings.Join(list, " and ")
}

func withoutQuery(url string) string {
	before, _, _ := strings.Cut(url, "?")
	return before
}

// word is a text from outside, fit for a line of a terminal.
func word(text string) string {
	text = strings.ToValidUTF8(text[:min(len(text), maxStateWord)], "")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, text))
}

// forget drops what is no longer wanted or running.
func (f *registrationFeed) forget(byURL map[string][]registering, running map[string]bool) {
	for url := range f.registrars {
		if byURL[url] == nil {
			delete(f.registrars, url)
			f.stale = true
		}
	}
	for id := range f.states {
		if !running[id] {
			delete(f.states, id)
			f.stale = true
		}
	}
}

// tell publishes all that is known.
func (f *registrationFeed) tell() {
	f.stale = false
	byID := map[string]api.RegistrationStatus{}
	for id, l := range f.states {
		byID[id] = api.RegistrationStatus{
			Registered: l.fact.Registered, State: l.state, Since: l.fact.Since, Reason: l.fact.Reason, Message: l.fact.Message,
		}
	}
	var list []api.RegistrarStatus
	for _, url := range slices.Sorted(maps.Keys(f.registrars)) {
		look := f.registrars[url]
		st := api.RegistrarStatus{URL: url, OK: look.err == nil, CheckedAt: look.at}
		if look.err != nil {
			st.Reason, st.Message = registrarFailure(look.err), look.err.Error()
		}
		list = append(list, st)
	}
	f.publish(byID, list)
}
