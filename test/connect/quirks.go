package connect

import (
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// Quirks are the habits of real servers, and of what stands between them and a client. The
// zero value is a server without any. They concern the API below /v1; /health,
// /heartbeat and /metrics look fine whatever happens.
type Quirks struct {
	// LateFirst is how long the first request after a start waits for the sync.
	LateFirst time.Duration
	// FalseUnauthorized answers so many requests after a start with 401, good tokens or not.
	FalseUnauthorized int
	// ForbiddenEvery answers each n-th request with 403, good tokens or not.
	ForbiddenEvery int
	// Syncing answers 500, as while the data is not there yet.
	Syncing bool
	// SyncingFor answers so many requests after a start with 500.
	SyncingFor int
	// AddMore gives fields outside of sections a section without a label, id "add more".
	AddMore bool
	// Shuffle puts lists in another order each time.
	Shuffle bool
	// NoVersions leaves versions out of lists.
	NoVersions bool
	// Delay is added to every answer.
	Delay time.Duration
	// Hang answers never.
	Hang bool
	// HTML answers with a page and this status: 502 and 504 as proxies do, 200 as a login page.
	HTML int
	// Status answers with an error of this status.
	Status int
	// Redirect sends clients to another address.
	Redirect string
	// Oversized answers with a list of so many bytes.
	Oversized int
	// Garbage answers 200 with a body that is no JSON, or JSON of something else.
	Garbage string
	// Echo is put into the body and a header of every error and page, as a careless
	// server would repeat values.
	Echo string
	// CutAfter ends the connection after so many bytes of a body. 0 does not.
	CutAfter int
}

// SetQuirks changes the quirks. What counts from a start goes on counting.
func (s *Server) SetQuirks(change func(q *Quirks)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.quirks)
}

// Restart makes the next request the first one after a start.
func (s *Server) Restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sinceStart = 0
}

// misbehave answers as the quirks want; true when it did.
func (s *Server) misbehave(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	q := s.quirks
	s.sinceStart++
	s.asked++
	nth, total := s.sinceStart, s.asked
	s.mu.Unlock()
	wait := q.Delay
	if nth == 1 {
		wait += q.LateFirst
	}
	if q.Hang || !pause(r, wait) {
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // returning would send an empty success
	}
	switch {
	case q.Redirect != "":
		http.Redirect(w, r, q.Redirect, http.StatusFound)
	case q.HTML != 0:
		page(w, q.HTML, q.Echo)
	case q.Garbage != "":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, q.Garbage)
	case q.Oversized > 0:
		flood(w, q.Oversized)
	case nth <= q.FalseUnauthorized:
		s.refuse(w, http.StatusUnauthorized, errGoneToken.Error())
	case q.Syncing || nth <= q.SyncingFor:
		s.refuse(w, http.StatusInternalServerError, "sync is not complete")
	case q.ForbiddenEvery > 0 && total%q.ForbiddenEvery == 0:
		s.refuse(w, http.StatusForbidden, "Authorization: (vault is not in scope)")
	case q.Status != 0:
		s.refuse(w, q.Status, http.StatusText(q.Status))
	default:
		return false
	}
	return true
}

// pause tells whether the client is still there after a time.
func pause(r *http.Request, wait time.Duration) bool {
	if wait == 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

func page(w http.ResponseWriter, status int, echo string) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<html><head><title>"+http.StatusText(status)+"</title></head><body>nginx "+echo+"</body></html>")
}

// flood writes a list of that size whose end never comes.
func flood(w http.ResponseWriter, size int) {
	w.Header().Set("Content-Type", "application/json")
	chunk := `{"id":"` + strings.Repeat("a", 1000) + `"},`
	_, _ = io.WriteString(w, "[")
	for written := 0; written < size; written += len(chunk) {
		if _, err := io.WriteString(w, chunk); err != nil {
			return
		}
	}
}

// shuffled puts a list in another order when the quirks want it.
func shuffled[T any](q Quirks, list []T) []T {
	if q.Shuffle {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	return list
}
