package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Route is what a group of HTTP requests needs.
type Route struct {
	Rule
	// What names the requests in the trail, such as "git push".
	What string
}

// HTTP puts the guard before a handler. Who calls is found by the client certificate, else
// by a token: Authorization: Bearer, or the password of Basic (for git; the user's name
// does not count). Handlers ask CallerFrom.
func (g *Guard) HTTP(route Route, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{rule: route.Rule, what: route.What}
		seen := &recorder{ResponseWriter: w}
		ctx := r.Context()
		defer func() { g.finish(ctx, c, httpResult(seen.code)) }()
		var err error
		c.caller, err = g.identify(ctx, proof{tls: r.TLS, from: r.RemoteAddr, token: httpToken(r)})
		if err == nil {
			err = g.authorize(c.caller, route.Rule)
		}
		if err != nil {
			refuse(seen, err)
			return
		}
		defer g.recoveredHTTP(ctx, c, seen)
		next.ServeHTTP(seen, r.WithContext(context.WithValue(ctx, callKey{}, c)))
	})
}

func httpToken(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	return bearer(r.Header.Get("Authorization"))
}

func refuse(w http.ResponseWriter, err error) {
	code := http.StatusForbidden
	switch status.Code(err) { //nolint:exhaustive // the others are not ours
	case codes.Unauthenticated:
		code = http.StatusUnauthorized
		// git asks for a password only when it is told to.
		w.Header().Set("WWW-Authenticate", `Basic realm="ktrdr", charset="UTF-8"`)
	case codes.ResourceExhausted:
		code = http.StatusTooManyRequests
		w.Header().Set("Retry-After", "60")
	case codes.Unavailable:
		code = http.StatusServiceUnavailable
	}
	http.Error(w, status.Convert(err).Message(), code)
}

func httpResult(code int) string {
	if code < http.StatusBadRequest {
		return resultOK
	}
	return strconv.Itoa(code)
}

// recoveredHTTP answers for a handler that panicked. http.ErrAbortHandler goes on: it is
// how a handler breaks off an answer that has begun.
func (g *Guard) recoveredHTTP(ctx context.Context, c *call, w *recorder) {
	reason := recover()
	if reason == nil {
		return
	}
	begun := w.code != 0
	w.code = http.StatusInternalServerError
	if err, ok := reason.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
		g.log.ErrorContext(ctx, "request panicked", slog.String("what", c.what), slog.String("who", c.caller.String()),
			slog.String("reason", fmt.Sprint(reason)), slog.String("stack", string(debug.Stack())))
	}
	if begun {
		panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to break an answer off
	}
	http.Error(w.ResponseWriter, "the controller has a defect; its log says more", http.StatusInternalServerError)
}

// recorder knows what was answered.
type recorder struct {
	http.ResponseWriter
	code int
}

// WriteHeader notes the code.
func (r *recorder) WriteHeader(code int) {
	if r.code == 0 && code >= http.StatusOK {
		r.code = code
	}
	r.ResponseWriter.WriteHeader(code)
}

// Write is a 200 unless something else was said.
func (r *recorder) Write(data []byte) (int, error) {
	if r.code == 0 {
		r.code = http.StatusOK
	}
	return r.ResponseWriter.Write(data)
}

// Unwrap is for http.ResponseController: flushing, deadlines.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
