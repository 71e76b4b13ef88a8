package repo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
)

// noWait is the push option that ends a push with its acceptance: git push -o nowait.
const noWait = "nowait"

// capabilities are what pushes may use. Deleting is there so that it can be refused in words.
const capabilities = "report-status report-status-v2 delete-refs quiet side-band-64k ofs-delta push-options object-format=sha1 agent=ktrdr"

// advertisePush lists the one reference there is.
func (s *session) advertisePush(ctx context.Context) {
	line := noCommit + " capabilities^{}"
	switch head, err := s.h.Head(ctx); {
	case err == nil:
		line = head.ID + " refs/heads/" + s.h.cfg.Branch
	case !errors.Is(err, ErrEmpty):
		s.failed("read the head", err)
		return
	}
	s.w.Header().Set("Content-Type", "application/x-git-receive-pack-advertisement")
	s.write("001f# service=git-receive-pack\n0000")
	_ = writePacket(s.w, line+"\x00"+capabilities+"\n") // a client that is gone shows in ctx
	s.write("0000")
}

// receive takes a push from its first byte to the end of its rollout.
func (s *session) receive(ctx context.Context) {
	h := s.h
	body, err := s.body(2 * h.limits.MaxPushBytes)
	if err != nil {
		http.Error(s.w, err.Error(), http.StatusBadRequest)
		return
	}
	in := bufio.NewReader(body)
	req, err := readRequest(in)
	if err != nil {
		http.Error(s.w, oneLine(err.Error()), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &reply{w: s.w, req: req, gone: cancel}
	p := &receiving{session: s, reply: out, req: req}
	if reason := h.misplaced(req); reason != "" {
		_, _ = io.Copy(io.Discard, in) // git reads no answer before it has sent all
		out.begin()
		p.end("", reason)
		return
	}
	if len(req.commands) == 0 {
		out.begin()
		return
	}
	p.run(ctx, in)
}

// misplaced says why commands can't be served whatever the pack is; "" when they can.
func (h *Hosted) misplaced(req request) string {
	for _, c := range req.commands {
		switch {
		case c.ref != "refs/heads/"+h.cfg.Branch:
			return "only branch " + h.cfg.Branch + " can be pushed"
		case c.isDelete():
			return "branch " + h.cfg.Branch + " can't be deleted"
		}
	}
	if len(req.commands) > 1 {
		return "one reference at a time"
	}
	return ""
}

// receiving is a push under way.
type receiving struct {
	*session

	reply *reply
	req   request
}

// run unpacks, asks the gate, moves the head and watches.
func (p *receiving) run(ctx context.Context, in io.Reader) {
	quarantine, err := p.h.newIncoming()
	if err != nil {
		p.failed("receive the push", err)
		return
	}
	defer func() {
		if err := quarantine.remove(); err != nil {
			p.h.cfg.Logger.Warn("remove what a push brought", "err", err)
		}
	}()
	err = quarantine.unpack(ctx, in, p.h.limits)
	p.reply.begin()
	if err != nil {
		p.reply.progress(err.Error())
		p.end(err.Error(), "the pack is refused")
		return
	}
	alive, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { p.reply.keepAlive(alive); close(done) }()
	defer func() { stop(); <-done }()
	if refused := p.accept(ctx, quarantine); refused != "" {
		p.end("", refused)
		return
	}
	p.release()
	p.h.maintain(ctx)
	p.watch(p.r.Context()) //nolint:contextcheck // ctx has the deadline of the transfer, which is over
	stop()
	<-done
	p.end("", "")
}

// end reports. refused is for all commands; "" is success.
func (p *receiving) end(unpack, refused string) {
	var results []outcome
	for _, c := range p.req.commands {
		results = append(results, outcome{c.ref, refused})
	}
	p.reply.finish(unpack, results)
}

// accept is the part of a push that is done one at a time. It returns why the push is refused
// in a few words, after the pusher was told the rest.
func (p *receiving) accept(ctx context.Context, quarantine *incoming) string {
	if err := p.h.take(ctx); err != nil {
		return "others were pushing all the time"
	}
	defer p.h.release()
	c := p.req.commands[0]
	push := Push{Old: c.old, New: c.new, Who: p.who, From: p.r.RemoteAddr, Options: p.req.options, Earlier: quarantine.earlier(c.new)}
	if c.old == noCommit {
		push.Old = ""
	}
	if refused := p.allowed(ctx, push, quarantine); refused != "" {
		return refused
	}
	if err := p.h.check(ctx, push, p.reply.progress, quarantine.dir, p.h.dir); err != nil {
		return p.refuse(err)
	}
	// Until here the pusher may go away and nothing has happened.
	if err := ctx.Err(); err != nil {
		return p.refuse(err)
	}
	if err := quarantine.keep(); err != nil {
		p.h.cfg.Logger.Error("keep a push", "err", err)
		return "the objects could not be stored"
	}
	if err := p.h.accept(ctx, push); err != nil {
		return p.refuse(err)
	}
	return ""
}

// refuse tells all of an error and returns its short form.
func (p *receiving) refuse(err error) string {
	p.reply.progress(err.Error())
	switch {
	case errors.Is(err, ErrHeadMoved):
		return "fetch first"
	case errors.Is(err, context.DeadlineExceeded):
		return "out of time"
	}
	return "refused"
}

// allowed looks at how the push relates to the head.
func (p *receiving) allowed(ctx context.Context, push Push, quarantine *incoming) string {
	if err := p.h.settle(ctx); err != nil {
		p.h.cfg.Logger.Error("bring branch and head together", "err", err)
		return "the accepted head could not be read"
	}
	head, err := p.h.cfg.Head(ctx)
	if err != nil {
		p.h.cfg.Logger.Error("read the accepted head", "err", err)
		return "the accepted head could not be read"
	}
	if head != push.Old {
		return p.refuse(fmt.Errorf("%w to %.10s: %s", ErrHeadMoved, head, p.h.again()))
	}
	if err := quarantine.complete(ctx, push.New); err != nil {
		return p.refuse(err)
	}
	if push.Old == "" || p.h.cfg.AllowForce {
		return ""
	}
	forward, err := p.h.isAncestor(ctx, push.Old, push.New, quarantine.env()...)
	switch {
	case err != nil:
		return p.refuse(err)
	case !forward:
		p.reply.progress("this push would take commits away: " + p.h.again() + "; to go back, use ktrdrctl rollback")
		return "non-fast-forward"
	}
	return ""
}

// again is what to do when the head is another one. A clone may follow another remote, so the
// one that ktrdrctl sets up is named.
func (h *Hosted) again() string {
	return "git pull --rebase desired-state " + h.cfg.Branch + ", then push again"
}

// watch shows the rollout, unless the pusher does not want to wait or is gone. Its ctx is the
// connection's: the time for the transfer is over.
func (p *receiving) watch(ctx context.Context) {
	rev := p.req.commands[0].new
	if slices.Contains(p.req.options, noWait) {
		p.reply.progress(fmt.Sprintf("accepted %.10s; not waiting for its rollout", rev))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, p.h.limits.WatchTimeout)
	defer cancel()
	p.deadlines(p.h.limits.WatchTimeout)
	p.reply.mu.Lock()
	p.reply.gone = cancel
	p.reply.mu.Unlock()
	if err := p.h.cfg.Gate.Watch(ctx, rev, p.reply.progress); err != nil && ctx.Err() == nil {
		p.reply.progress(err.Error())
	}
}
