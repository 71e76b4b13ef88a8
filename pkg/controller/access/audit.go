package access

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxNote bounds what a caller can write into one field of the trail, in bytes.
const maxNote = 300

// auditTimeout bounds writing an entry. The call is over by then, and its context too.
const auditTimeout = 5 * time.Second

// resultOK is the result of what succeeded.
const resultOK = "ok"

// call is one call under way.
type call struct {
	caller Caller
	what   string
	rule   Rule

	mu     sync.Mutex
	target string
	detail string
}

func callFrom(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// Note says what a call is about (target) and what came of it (detail), for the trail. An
// empty string keeps what is there. Neither may hold a secret.
func Note(ctx context.Context, target, detail string) {
	if c := callFrom(ctx); c != nil {
		c.note(target, detail)
	}
}

func (c *call) note(target, detail string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if target != "" {
		c.target = clean(target)
	}
	if detail != "" {
		c.detail = clean(detail)
	}
}

// about notes the target that a request names.
func (c *call) about(request any) {
	if m, ok := request.(proto.Message); ok {
		c.note(targetOf(m.ProtoReflect()), "")
	}
}

// targetOf names what a request is about, by the fields that say it.
func targetOf(m protoreflect.Message) string {
	var parts []string
	for _, name := range []protoreflect.Name{"stack", "pool", "services", "node", "nodes", "name", "revision", "tag", "count"} {
		field := m.Descriptor().Fields().ByName(name)
		if field == nil || !m.Has(field) || field.Message() != nil {
			continue
		}
		text := m.Get(field).String()
		if field.IsList() {
			text = listed(m.Get(field).List())
		}
		parts = append(parts, string(name)+"="+text)
	}
	for _, name := range []protoreflect.Name{"operator", "logs"} {
		if field := m.Descriptor().Fields().ByName(name); field != nil && m.Has(field) && field.Message() != nil {
			parts = append(parts, targetOf(m.Get(field).Message()))
		}
	}
	return strings.Join(parts, " ")
}

func listed(items protoreflect.List) string {
	const most = 20
	var parts []string
	for i := range min(items.Len(), most) {
		parts = append(parts, items.Get(i).String())
	}
	return strings.Join(parts, ",")
}

// clean makes text of a caller fit for one line of the trail.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '.'
	}, strings.ToValidUTF8(text, "."))
	if len(text) > maxNote {
		text = strings.ToValidUTF8(text[:maxNote], "") + "…"
	}
	return text
}

// finish writes a call into the trail.
func (g *Guard) finish(ctx context.Context, c *call, result string) {
	refused := result == codes.Unauthenticated.String() || result == codes.PermissionDenied.String() || result == "401" || result == "403"
	stranger := c.caller.Role == Anonymous
	switch {
	case c.rule.Quiet && !refused:
		return
	case stranger && (result == codes.ResourceExhausted.String() || result == "429"):
		return // that is what the limit is for
	case stranger && result != resultOK && !g.refusals.take(""):
		return
	}
	c.mu.Lock()
	entry := Entry{
		At: g.now(), Who: c.caller.String(), Role: c.caller.Role, What: c.what, Target: c.target,
		From: c.caller.From, Result: result, Detail: c.detail,
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTimeout)
	defer cancel()
	if err := g.trail.Record(ctx, entry); err != nil {
		g.log.ErrorContext(ctx, "audit entry was not written", slog.String("who", entry.Who), slog.String("what", entry.What),
			slog.String("target", entry.Target), slog.String("result", entry.Result), slog.Any("err", err))
	}
}

func resultOf(err error) string {
	if err == nil {
		return resultOK
	}
	return status.Code(err).String()
}
