package secretstest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"ktrdr.io/fleet/pkg/agent/internal/secrets"
)

// Fault is a way in which the world behind a provider fails. Whatever there is to say
// about it, in bodies, headers and pages, repeats the content that it is begun with.
type Fault string

// Faults that the suite begins where the backend has them.
const (
	// Denied: the provider may not read, or its token was revoked.
	Denied Fault = "denied"
	// Unreachable: nobody answers, or not in this protocol.
	Unreachable Fault = "unreachable"
	// Failing: the server answers with errors of its own.
	Failing Fault = "failing"
	// Slow: it takes longer than anybody waits.
	Slow Fault = "slow"
	// WrongType: another server answers, a login page or a proxy.
	WrongType Fault = "wrong content type"
	// Garbage: the right type, with something else in it.
	Garbage Fault = "garbage"
	// Oversized: more than anybody should read.
	Oversized Fault = "oversized"
	// Redirect: it sends the client elsewhere, where the content is.
	Redirect Fault = "redirect"
	// Cut: the connection ends in the middle.
	Cut Fault = "cut off"
)

// wants is what errors.Is finds in the error of a fault.
var wants = map[Fault]error{ //nolint:gochecknoglobals // a table
	Denied: secrets.ErrDenied, Unreachable: secrets.ErrUnreachable, Failing: secrets.ErrUnreachable, Slow: secrets.ErrUnreachable,
	WrongType: secrets.ErrUnreachable, Garbage: nil, Oversized: nil, Redirect: secrets.ErrUnreachable, Cut: secrets.ErrUnreachable,
}

// patience is how long a provider may take to give up, its repetitions included.
const patience = 30 * time.Second

// faults: whatever fails, nothing of it gets into an error, no value comes out, and all is
// well again afterwards.
func faults(t *testing.T, begin func(t *testing.T) Backend) {
	for fault, want := range wants {
		t.Run(string(fault), func(t *testing.T) {
			b := begin(t)
			if b.Faults[fault] == nil {
				t.Skipf("%s has no such fault", b.Provider.Name())
			}
			for _, ref := range b.Refs {
				b.Set(t, ref, canary)
				resolve(t, b, ref)
			}
			b.Faults[fault](t, canary)
			started := time.Now()
			results, err := b.Provider.Resolve(t.Context(), b.Refs[:])
			if took := time.Since(started); took > patience {
				t.Errorf("gave up after %s only", took)
			}
			if err == nil && results[b.Refs[0]].Err == nil {
				t.Fatal("it answered")
			}
			failed(t, err, want)
			for _, got := range results {
				failed(t, got.Err, want)
				if !got.Value.IsEmpty() {
					t.Error("a value beside the error")
				}
			}
			b.Mend(t)
			b.Set(t, b.Refs[0], "back")
			if got := resolve(t, b, b.Refs[0])[b.Refs[0]]; got.Value.Open() != "back" {
				t.Errorf("afterwards: %q, %v", got.Value.Open(), got.Err)
			}
		})
	}
}

func failed(t *testing.T, err, want error) {
	t.Helper()
	if err == nil {
		return
	}
	judge(t, err)
	if want != nil && !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

// impatient: who gives up gets free at once, also while another call hangs.
func impatient(t *testing.T, b Backend) {
	if b.Faults[Slow] == nil {
		t.Skipf("%s has no slow answers", b.Provider.Name())
	}
	b.Set(t, b.Refs[0], canary)
	b.Faults[Slow](t, canary)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := b.Provider.Resolve(ctx, b.Refs[:1])
		first <- err
	}()
	short, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := b.Provider.Resolve(short, b.Refs[:1]); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who waits 20 ms got %v", err)
	}
	cancel()
	select {
	case err := <-first:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up got %v", err)
		}
	case <-time.After(patience):
		t.Error("who gave up is still waiting")
	}
	b.Mend(t)
}

// ambiguous: two things of one name are an error, and no guess.
func ambiguous(t *testing.T, b Backend) {
	if b.Duplicate == nil {
		t.Skipf("names are unique in %s", b.Provider.Name())
	}
	b.Set(t, b.Refs[0], canary)
	resolve(t, b, b.Refs[0])
	b.Duplicate(t, b.Refs[0], "other")
	classed(t, resolve(t, b, b.Refs[0])[b.Refs[0]], secrets.ErrAmbiguous)
}

// OtherProtocol answers a request as a server of another kind would, with content in its
// greeting. Clients put what they can't parse into their errors.
func OtherProtocol(w http.ResponseWriter, content string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(conn, "SSH-2.0-"+content+"\r\n\r\n")
	_ = conn.Close()
}
