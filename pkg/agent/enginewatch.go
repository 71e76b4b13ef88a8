package agent

import (
	"context"
	"sync"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/engine"
	"ktrdr.io/fleet/pkg/api"
)

// Pace of questions to the engine: often while it can't be reached, seldom while it can.
// A hung engine ends no event stream; only a question that gets no answer shows it.
const (
	enginePoll  = 2 * time.Second
	enginePulse = 5 * time.Second
)

// watchEngine keeps the status of the engine current.
func (a *Agent) watchEngine(ctx context.Context) error {
	return a.watch.run(ctx)
}

// run looks until ctx ends.
func (w *engineWatch) run(ctx context.Context) error {
	defer func() {
		if w.asked != nil {
			<-w.asked
		}
	}()
	for {
		w.look(ctx)
		wait := enginePoll
		if w.known {
			wait = enginePulse
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		case <-w.bell:
		}
	}
}

// engineWatch tells what is known of an engine: nothing before its first answer or failure.
type engineWatch struct {
	engine interface {
		Ping(ctx context.Context) error
		Info(ctx context.Context) (api.Engine, error)
	}
	// connected is the state of the event stream: since when, or why not.
	connected func() (up bool, since time.Time, err error)
	report    interface {
		SetEngine(e api.Engine)
		SetEngineDown(c *api.Condition)
	}

	bell chan struct{}

	// known says that the engine of the connection since has told who it is; another one may
	// have taken its place after another connection.
	known bool
	since time.Time
	// asked brings the answer to who it is; nil while nobody asks.
	asked chan introduction

	mu sync.Mutex
	// told is what was told of it last: nothing, that it answers, or that it does not.
	told engineState
	// listed is the connection that was heard of last.
	listed time.Time
}

// heard is the cache's bell. An engine that was connected to has answered: that is told
// before anybody can say what runs on it, and who it is is asked at once.
func (w *engineWatch) heard(string) {
	up, since, _ := w.connected()
	if !up {
		return
	}
	w.mu.Lock()
	again := since.Equal(w.listed)
	w.listed = since
	w.mu.Unlock()
	if !again {
		w.answers()
		ring(w.bell)
	}
}

// introduction is who the engine of a connection is.
type introduction struct {
	since time.Time
	info  api.Engine
	err   error
}

type engineState int

const (
	engineUntold engineState = iota
	engineAnswers
	engineSilent
)

// look asks an engine whether it is there, and one that is not known who it is. One that
// answers is reachable, however long the second answer takes: that of a loaded engine may
// take longer than everything that the node needs done. The first question is asked again
// meanwhile: an engine may hang at any moment.
func (w *engineWatch) look(ctx context.Context) {
	up, since, err := w.connected()
	if !up {
		if w.answered() || err != nil {
			w.lost(since, err)
		}
		return
	}
	if err := w.engine.Ping(ctx); err != nil {
		if ctx.Err() == nil {
			w.lost(time.Now(), err)
		}
		return
	}
	w.answers()
	if !w.known || !since.Equal(w.since) {
		w.introduce(ctx, since)
	}
}

// introduce asks who the engine is, unless somebody does, and waits a moment for the answer.
func (w *engineWatch) introduce(ctx context.Context, since time.Time) {
	w.known = false
	if w.asked == nil {
		asked := make(chan introduction, 1)
		w.asked = asked
		go func() {
			info, err := w.engine.Info(ctx)
			asked <- introduction{since, info, err}
		}()
	}
	timer := time.NewTimer(enginePoll)
	defer timer.Stop()
	select {
	case <-timer.C:
	case answer := <-w.asked:
		w.asked = nil
		if answer.err == nil && answer.since.Equal(since) {
			w.known, w.since = true, since
			w.report.SetEngine(answer.info)
		}
	}
}

func (w *engineWatch) answered() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.told == engineAnswers
}

// answers tells once that the engine answers.
func (w *engineWatch) answers() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told == engineAnswers {
		return
	}
	w.told = engineAnswers
	w.report.SetEngine(api.Engine{Reachable: true})
}

// lost tells once that the engine does not answer.
func (w *engineWatch) lost(since time.Time, err error) {
	w.known = false
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told == engineSilent {
		return
	}
	w.told = engineSilent
	w.report.SetEngineDown(engineCondition(since, err))
}

func engineCondition(since time.Time, err error) *api.Condition {
	c := &api.Condition{
		Type: api.ConditionDegraded, Status: true, Reason: api.ReasonEngineDown, Since: since,
		Message: "the engine does not answer; containers run on by themselves, repairs wait for it",
	}
	if err != nil {
		_, reason := engine.Classify(err)
		c.Reason = reason
		c.Message += ": " + err.Error()
	}
	return c
}
