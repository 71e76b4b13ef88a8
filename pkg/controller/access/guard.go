package access

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"ktrdr.io/fleet/pkg/wire/pki"
)

// Config is what a Guard needs.
type Config struct {
	Directory Directory
	Trail     Trail
	Log       *slog.Logger
	// Strangers is what each address may try without a valid proof; zero for DefaultLimits.
	Strangers Limits
	// Now is the clock; nil for the real one.
	Now func() time.Time
}

// Guard stands before every call. It is for concurrent use.
type Guard struct {
	directory Directory
	trail     Trail
	log       *slog.Logger
	now       func() time.Time
	methods   map[string]Rule
	strangers *limiter
	refusals  *limiter
	streams   *streams
}

// New makes a guard. Its Watch must run as long as it is in use.
func New(c Config) *Guard {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Strangers == (Limits{}) {
		c.Strangers = DefaultLimits()
	}
	return &Guard{
		directory: c.Directory, trail: c.Trail, log: c.Log, now: c.Now, methods: Methods(),
		strangers: newLimiter(c.Strangers, c.Now),
		refusals:  newLimiter(refusalLimits(), c.Now),
		streams:   newStreams(),
	}
}

// refusalLimits bound what strangers write into the trail, all of them together: its
// length is bounded, and they must not push out what others did.
func refusalLimits() Limits { return Limits{Burst: 60, Pause: 10 * time.Second} }

// Answers to those who did not prove who they are tell nothing: neither what exists nor
// what is wrong with a proof.
var (
	errUnauthenticated = status.Error(codes.Unauthenticated, "who are you? show a certificate or a token that this fleet knows")
	errTooMany         = status.Error(codes.ResourceExhausted, "too many attempts; wait a minute")
	errUnavailable     = status.Error(codes.Unavailable, "the controller's store, etcd, does not answer: it can't look up now who you are; try again")
)

// proof is what a peer shows.
type proof struct {
	tls  *tls.ConnectionState
	from string
	// token is the text of an operator's token; empty for none.
	token string
}

// identify finds out who shows a proof. A certificate comes first; one that is not
// accepted is not replaced by a token.
func (g *Guard) identify(ctx context.Context, p proof) (Caller, error) {
	anonymous := Caller{Role: Anonymous, From: p.from}
	if p.tls == nil {
		return anonymous, errUnauthenticated
	}
	id, err := pki.IdentityOf(*p.tls)
	switch {
	case err == nil:
		return g.byCertificate(ctx, p, id)
	case !errors.Is(err, pki.ErrNoCertificate):
		return anonymous, errUnauthenticated
	case p.token == "":
		return anonymous, nil
	}
	return g.byToken(ctx, p)
}

func (g *Guard) byCertificate(ctx context.Context, p proof, id pki.Identity) (Caller, error) {
	caller := Caller{
		Name: id.Name, By: ByCertificate, Serial: id.Serial, From: p.from,
		Expires: p.tls.VerifiedChains[0][0].NotAfter,
	}
	// A connection outlives the handshake that verified it.
	if !g.now().Before(caller.Expires) {
		return Caller{Role: Anonymous, From: p.from}, errUnauthenticated
	}
	switch id.Kind {
	case pki.Node:
		caller.Role = Node
	case pki.Controller:
		caller.Role = Controller
	case pki.Operator: // the directory has the role
	}
	return g.lookup(ctx, caller)
}

func (g *Guard) byToken(ctx context.Context, p proof) (Caller, error) {
	anonymous := Caller{Role: Anonymous, From: p.from}
	if g.strangers.exhausted(p.from) {
		return anonymous, errTooMany
	}
	token, err := pki.ParseOperatorToken(p.token)
	if err != nil {
		g.strangers.take(p.from)
		return anonymous, errUnauthenticated
	}
	caller, err := g.lookup(ctx, Caller{By: ByToken, From: p.from, hash: token.Hash()})
	if status.Code(err) == codes.Unauthenticated {
		g.strangers.take(p.from)
	}
	return caller, err
}

// lookup asks the directory about a caller of whom the proof is known.
func (g *Guard) lookup(ctx context.Context, caller Caller) (Caller, error) {
	anonymous := Caller{Role: Anonymous, From: caller.From}
	var person Person
	var err error
	switch {
	case caller.Role == Node:
		err = g.directory.Node(ctx, caller.Name, caller.Serial)
	case caller.Role == Controller:
		err = g.directory.Controller(ctx, caller.Name)
	case caller.By == ByToken:
		person, err = g.directory.OperatorByToken(ctx, caller.hash)
	default:
		person, err = g.directory.Operator(ctx, caller.Name, caller.Serial)
	}
	switch {
	case errors.Is(err, ErrDenied):
		return anonymous, errUnauthenticated
	case err != nil:
		g.log.WarnContext(ctx, "who calls can't be told", slog.String("from", caller.From), slog.Any("err", err))
		return anonymous, errUnavailable
	case caller.Role == Node, caller.Role == Controller:
		return caller, nil
	}
	return g.asPerson(caller, person)
}

func (g *Guard) asPerson(caller Caller, person Person) (Caller, error) {
	expired := !person.Expires.IsZero() && !g.now().Before(person.Expires)
	if expired || !person.Role.Allows(Viewer) {
		return Caller{Role: Anonymous, From: caller.From}, errUnauthenticated
	}
	caller.Name, caller.Email, caller.Role = person.Name, person.Email, person.Role
	if caller.Expires.IsZero() || (!person.Expires.IsZero() && person.Expires.Before(caller.Expires)) {
		caller.Expires = person.Expires
	}
	return caller, nil
}

// authorize says why a caller may not make a call, or nothing.
func (g *Guard) authorize(caller Caller, rule Rule) error {
	if !caller.Role.Allows(rule.Least) {
		if caller.Role == Anonymous {
			return errUnauthenticated
		}
		return status.Errorf(codes.PermissionDenied, "this needs the role %s; %s is %s", rule.Least, caller, caller.Role)
	}
	if caller.Role == Anonymous && !rule.Unlimited && !g.strangers.take(caller.From) {
		return errTooMany
	}
	return nil
}

// bearer returns the token of an Authorization header of that scheme.
func bearer(header string) string {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
