package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/probe"
	"ktrdr.io/fleet/pkg/api"
)

// listener is a feed with what it published.
type listener struct {
	*registrationFeed
	running    []registering
	facts      map[string]api.RegistrationFact
	byID       map[string]api.RegistrationStatus
	registrars []api.RegistrarStatus
}

func newListener(ask func(context.Context, string, time.Duration) ([]probe.Entry, error)) *listener {
	l := &listener{facts: map[string]api.RegistrationFact{}}
	l.registrationFeed = &registrationFeed{
		ask: ask, admit: func(registering) error { return nil }, wanted: func() []registering { return l.running }, bell: make(chan struct{}, 1),
		fact: func(id string, f *api.RegistrationFact) { l.facts[id] = *f },
		publish: func(byID map[string]api.RegistrationStatus, registrars []api.RegistrarStatus) {
			l.byID, l.registrars = byID, registrars
		},
		registrars: map[string]*registrar{}, states: map[string]*listing{},
	}
	return l
}

func worker(url string, n int, change func(*api.Registration)) registering {
	reg := &api.Registration{
		URL: url, Match: map[string]string{"endpoint_url": fmt.Sprintf("http://b:%d", n)}, State: "status",
		Interval: 30 * time.Second, Timeout: 5 * time.Second, Grace: 90 * time.Second,
	}
	if change != nil {
		change(reg)
	}
	return registering{id: fmt.Sprint("c", n), name: fmt.Sprint("worker-", n), started: time.Now(), reg: reg}
}

// TestOneRequestForAll: whichever number of services registers at an address, it is asked
// once an interval; the shortest one counts.
func TestOneRequestForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := map[string]int{}
		var mu sync.Mutex // requests are made side by side
		l := newListener(func(_ context.Context, url string, timeout time.Duration) ([]probe.Entry, error) {
			mu.Lock()
			asked[url]++
			mu.Unlock()
			if timeout != 5*time.Second {
				t.Errorf("asked with a limit of %s", timeout)
			}
			return nil, nil
		})
		for n := range 20 {
			l.running = append(l.running, worker("http://backend/", n, nil))
		}
		l.running = append(l.running, worker("http://other/", 20, func(r *api.Registration) { r.Interval = time.Minute }))
		for range 601 { // ten minutes of ticks
			l.round(t.Context())
			time.Sleep(time.Second)
		}
		if asked["http://backend/"] != 21 || asked["http://other/"] != 11 {
			t.Errorf("in ten minutes asked %v, want 21 and 11", asked)
		}
		if len(l.byID) != 21 || len(l.registrars) != 2 {
			t.Errorf("%d containers and %d registrars are told", len(l.byID), len(l.registrars))
		}
		l.running = l.running[20:]
		l.round(t.Context())
		if len(l.byID) != 1 || len(l.registrars) != 1 {
			t.Errorf("what is gone is still told: %v %v", l.byID, l.registrars)
		}
		l.running = nil
		l.round(t.Context())
		if len(l.byID) != 0 || len(l.registrars) != 0 {
			t.Errorf("what is gone is still told: %v %v", l.byID, l.registrars)
		}
	})
}

// TestHurry: a service that a rollout may wait for is looked for more often, for its grace.
func TestHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		l := newListener(func(context.Context, string, time.Duration) ([]probe.Entry, error) {
			asked++
			return nil, nil
		})
		l.running = []registering{worker("http://backend/", 1, func(r *api.Registration) { r.Required = true })}
		for range 90 {
			l.round(t.Context())
			time.Sleep(time.Second)
		}
		if asked < 17 || asked > 19 {
			t.Errorf("asked %d times within the grace of 90s", asked)
		}
		asked = 0
		for range 300 {
			l.round(t.Context())
			time.Sleep(time.Second)
		}
		if asked > 11 {
			t.Errorf("asked %d times in the five minutes after", asked)
		}
	})
}

// TestRegistrationOverHTTP follows a service from its start over the loss of its backend to
// its return, against a real server.
func TestRegistrationOverHTTP(t *testing.T) {
	var answer atomic.Pointer[http.HandlerFunc]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*answer.Load())(w, r) }))
	defer server.Close()
	says := func(text string) {
		h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, text) })
		answer.Store(&h)
	}
	l := newListener(probe.Registered)
	l.running = []registering{worker(server.URL+"/workers?key=1", 5003, nil)}
	look := func() (api.RegistrationStatus, api.RegistrationFact) {
		l.registrars = nil
		for _, r := range l.registrationFeed.registrars {
			r.at = time.Time{} // due now
		}
		l.round(t.Context())
		return l.byID["c5003"], l.facts["c5003"]
	}
	want := func(what string, registered, lost bool, words ...string) (api.RegistrationStatus, api.RegistrationFact) {
		t.Helper()
		st, fact := look()
		if st.Registered != registered || fact.Registered != registered || fact.Lost != lost || !fact.For.Equal(l.running[0].started) || fact.Since.IsZero() {
			t.Errorf("%s: %+v, %+v", what, st, fact)
		}
		for _, word := range words {
			if !strings.Contains(string(st.Reason)+" "+st.Message+" "+st.State, word) {
				t.Errorf("%s: %+v lacks %q", what, st, word)
			}
		}
		return st, fact
	}
	says(`[]`)
	first, _ := want("not yet", false, false, "NotRegistered", "lists 0, none with endpoint_url=http://b:5003")
	if strings.Contains(first.Message, "key=1") {
		t.Errorf("the query is told: %s", first.Message)
	}
	if again, _ := look(); !again.Since.Equal(first.Since) {
		t.Error("a second look in vain begins anew")
	}
	says(`{"workers":[{"endpoint_url":"http://b:5004"},{"endpoint_url":"http://b:5003","status":"bu\u0007sy"}],"count":2}`)
	there, _ := want("there", true, false, "bu sy")
	if there.Reason != "" || there.Message != "" || !there.Since.After(first.Since) {
		t.Errorf("registered: %+v", there)
	}
	down := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	answer.Store(&down)
	lost, _ := want("the backend is down", false, true, "RegistrarUnreachable", "status 503")
	if lost.State != "" {
		t.Errorf("the word of before is told: %+v", lost)
	}
	if len(l.registrars) != 1 || l.registrars[0].OK || l.registrars[0].Reason != api.ReasonRegistrarDown || l.registrars[0].CheckedAt.IsZero() {
		t.Errorf("registrars %+v", l.registrars)
	}
	says(`[]`)
	if st, _ := want("it is back without its list", false, true, "NotRegistered"); !st.Since.Equal(lost.Since) {
		t.Error("another reason begins anew")
	}
	says(`[{"endpoint_url":"http://b:5003","status":"available"}]`)
	want("back", true, false, "available")
	// Another run of the container: what was seen before does not count.
	l.running[0].started = time.Now()
	says(`[]`)
	want("a new run", false, false, "NotRegistered")
	l.admit = func(registering) error { return &refusedLook{} }
	want("the policy", false, false, "PolicyViolation", "not allowed")
}

type refusedLook struct{}

func (*refusedLook) Error() string { return "not allowed" }
func (*refusedLook) Failure() (api.ErrorClass, api.Reason) {
	return api.Waiting, api.ReasonPolicyViolation
}

// TestSlowRegistrar: one that hangs delays the others by its limit and no more.
func TestSlowRegistrar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newListener(func(ctx context.Context, url string, timeout time.Duration) ([]probe.Entry, error) {
			if strings.Contains(url, "slow") {
				ctx, cancel := context.WithTimeout(ctx, timeout)
				defer cancel()
				<-ctx.Done()
				return nil, errors.New("no answer")
			}
			return nil, nil
		})
		l.running = []registering{worker("http://slow/", 1, nil), worker("http://fast/", 2, nil)}
		began := time.Now()
		l.round(t.Context())
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("the round took %s", took)
		}
		if l.byID["c1"].Reason != api.ReasonRegistrarDown || l.byID["c2"].Reason != api.ReasonNotRegistered {
			t.Errorf("told %+v", l.byID)
		}
	})
}
