package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"google.golang.org/grpc"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/plan"
	"ktrdr.io/fleet/pkg/source"
)

// Dialer makes a connection to one controller, host:port. It may connect later, when it is
// used; the Link closes it.
type Dialer func(endpoint string) (*grpc.ClientConn, error)

// Report is what the agent knows about itself.
type Report interface {
	// Status is the newest.
	Status() api.NodeStatus
	// Changed returns a channel that is closed when the status may have changed.
	Changed() <-chan struct{}
	// Events returns up to limit events after a number, oldest first.
	Events(after uint64, limit int) []api.Event
	// News returns a channel that is closed at the next event.
	News() <-chan struct{}
}

// Backend does what commands ask for.
type Backend interface {
	// Sync makes the agent look at its secrets soon, and try again what waits.
	Sync(ctx context.Context) error
	// Hold suspends changes of a stack; nil resumes them.
	Hold(stack string, h *api.Hold) error
	// PlanTree plans the tree in dir and changes nothing.
	PlanTree(ctx context.Context, dir string) ([]*plan.Plan, error)
	// Plans are those of the state in force.
	Plans() []*plan.Plan
	// Secrets tells about the references of the state in force.
	Secrets() api.SecretsStatus
}

// Logs reads logs of containers.
type Logs interface {
	// Stream calls emit for each line, in the order of each container, until all that was
	// asked for is told, or ctx ends, which is no error. emit never waits.
	Stream(ctx context.Context, q LogQuery, emit func(LogLine)) error
}

// LogQuery asks for logs.
type LogQuery struct {
	// Stack is empty for all, Services are empty for all.
	Stack    string
	Services []string
	// Tail is the number of last lines of each container; negative for all.
	Tail int
	// Since is zero for all.
	Since time.Time
	// Follow goes on with new lines and with containers that come.
	Follow bool
}

// LogLine is one line of a container's log. Its text is without secrets already.
type LogLine struct {
	Stack, Service, Container string
	Time                      time.Time
	Stderr                    bool
	Text                      string
}

// Doctor checks the node.
type Doctor interface {
	// Check calls emit for each check. The error says why there are no more.
	Check(ctx context.Context, req DoctorRequest, emit func(api.Check)) error
}

// DoctorRequest says what is checked.
type DoctorRequest struct {
	// Dir has the tree whose names, images, mounts and ports are checked; empty: the state
	// in force. It is removed after Check.
	Dir string
	// Canary starts a container.
	Canary bool
}

// Config of a Link.
type Config struct {
	// Endpoints are controllers as host:port, in the order in which they are tried. Required.
	Endpoints []string
	// Dial makes connections. Required.
	Dial Dialer
	// Source gets what the controller sends. Required.
	Source *source.Stream
	// Report, Backend, Logs and Redact are required.
	Report  Report
	Backend Backend
	Logs    Logs
	// Doctor, nil: the command is not supported.
	Doctor Doctor
	// Redact takes every secret that the node knows out of a text.
	Redact func(string) string
	// Changed is called when State gives something new; nil for nobody.
	Changed func(api.Link)
	// Failed gets why there is no connection, ErrRefused among it; nil for nobody.
	Failed func(error)
	Log    *slog.Logger
	// Timing, zero for the defaults.
	Timing Timing
}

// Timing bounds what waits for others.
type Timing struct {
	// RetryFirst and RetryLast bound the pause between attempts: it is random between 0 and
	// a limit that doubles from the first to the last. Defaults 0.5 s and 30 s.
	RetryFirst, RetryLast time.Duration
	// Stable is how long a connection has to last for the pauses to start anew. Default 10 s.
	Stable time.Duration
	// Welcome is how long the controller may take for its first answer. Default 20 s.
	Welcome time.Duration
	// Send is how long a message may wait until the controller reads. Default 30 s.
	Send time.Duration
	// Answer is how long nothing may come while contents were asked for. Default 30 s.
	Answer time.Duration
}

func (t Timing) withDefaults() Timing {
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&t.RetryFirst, 500 * time.Millisecond},
		{&t.RetryLast, 30 * time.Second},
		{&t.Stable, 10 * time.Second},
		{&t.Welcome, 20 * time.Second},
		{&t.Send, 30 * time.Second},
		{&t.Answer, 30 * time.Second},
	} {
		if *d.value <= 0 {
			*d.value = d.standard
		}
	}
	return t
}

// maxEndpoints bounds how many controllers there may be.
const maxEndpoints = 16

// CheckEndpoints says what is wrong with a list of controllers.
func CheckEndpoints(endpoints []string) error {
	if len(endpoints) == 0 || len(endpoints) > maxEndpoints {
		return fmt.Errorf("%d controllers; name 1 to %d as host:port", len(endpoints), maxEndpoints)
	}
	var errs []error
	for _, e := range endpoints {
		errs = append(errs, checkEndpoint(e))
	}
	return errors.Join(errs...)
}

func checkEndpoint(endpoint string) error {
	host, port, err := net.SplitHostPort(endpoint)
	if err != nil || host == "" || len(endpoint) > 300 {
		return fmt.Errorf("controller %.300q: write host:port, such as controller.example:8443", endpoint)
	}
	for _, c := range []byte(host) {
		if c <= ' ' || c >= 0x7f || c == '/' || c == '@' {
			return fmt.Errorf("controller %.300q: %q is no host", endpoint, host)
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("controller %.300q: %q is no port", endpoint, port)
	}
	return nil
}
