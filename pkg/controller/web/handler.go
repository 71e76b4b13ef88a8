package web

import (
	"net/http"
	"strings"

	"ktrdr.io/fleet/pkg/controller/access"
)

// GitPath is where the hosted repository is: git push https://host:port/git/desired-state.git.
const GitPath = "/git/desired-state.git"

// Config of a Handler.
type Config struct {
	Guard *access.Guard
	// Git serves the hosted repository; nil for a followed one.
	Git http.Handler
	// Targets are listed for Prometheus.
	Targets *Targets
	// Hook is told of pushes to a followed repository; nil for a hosted one.
	Hook *Hook
}

// Handler routes requests.
func Handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n"))
	})
	read := access.Route{Rule: access.Rule{Least: access.Viewer, Quiet: true}, What: "prometheus sd"}
	mux.Handle("GET /v1/sd/prometheus", cfg.Guard.HTTP(read, cfg.Targets))
	if cfg.Git != nil {
		mux.Handle(GitPath+"/", git(cfg))
	}
	if cfg.Hook != nil {
		mux.Handle("POST /v1/webhook", cfg.Hook)
	}
	return headers(mux)
}

// git asks for more of those who push.
func git(cfg Config) http.Handler {
	fetch := cfg.Guard.HTTP(access.Route{Rule: access.Rule{Least: access.Viewer, Quiet: true}, What: "git fetch"}, cfg.Git)
	// The push itself is in the trail; the question before it is not.
	ask := cfg.Guard.HTTP(access.Route{Rule: access.Rule{Least: access.Operator, Quiet: true}, What: "git push"}, cfg.Git)
	push := cfg.Guard.HTTP(access.Route{Rule: access.Rule{Least: access.Operator}, What: "git push"}, cfg.Git)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/git-receive-pack"):
			push.ServeHTTP(w, r)
		case r.URL.Query().Get("service") == "git-receive-pack":
			ask.ServeHTTP(w, r)
		default:
			fetch.ServeHTTP(w, r)
		}
	})
}

// headers keep browsers from doing anything with answers.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Strict-Transport-Security", "max-age=31536000")
		next.ServeHTTP(w, r)
	})
}
