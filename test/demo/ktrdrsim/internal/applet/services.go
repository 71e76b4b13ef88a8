package applet

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/backend"
	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/contract"
	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/database"
	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/environ"
	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/serve"
	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/worker"
)

const (
	// callTime bounds a call between backend and worker.
	callTime = 15 * time.Second
	// saveTime is what a worker gives itself for its checkpoint, below the 30 s of the user's grace period.
	saveTime = 25 * time.Second
)

func flags(name string) *flag.FlagSet {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	return set
}

func client() *http.Client { return &http.Client{Timeout: callTime} }

// python stands for `python -m uvicorn …`, the only form that the user's files have.
func python(ctx context.Context, p Process, args []string) int {
	if len(args) < 2 || args[0] != "-m" || args[1] != "uvicorn" {
		return p.fail(exitUsage, errors.New("python: only `-m uvicorn APP` is known"))
	}
	return uvicorn(ctx, p, args[2:])
}

// uvicorn maps the user's modules to the services of this program.
func uvicorn(ctx context.Context, p Process, args []string) int {
	if len(args) == 0 {
		return p.fail(exitUsage, errors.New("uvicorn: no application given"))
	}
	set := flags("uvicorn")
	host, port := set.String("host", "127.0.0.1", ""), set.String("port", "8000", "")
	set.Bool("reload", false, "")
	if err := set.Parse(args[1:]); err != nil {
		return p.fail(exitUsage, fmt.Errorf("uvicorn: %w", err))
	}
	app := args[0]
	switch {
	case app == "ktrdr.api.main:app":
		return runBackend(ctx, p, *host, *port)
	case strings.HasPrefix(app, "ktrdr.backtesting."):
		return runWorker(ctx, p, worker.Flags{Type: string(contract.Backtesting), Host: *host, Port: *port})
	case strings.HasPrefix(app, "ktrdr.training."):
		return runWorker(ctx, p, worker.Flags{Type: string(contract.Training), Host: *host, Port: *port})
	default:
		return p.fail(exitFailure, fmt.Errorf("uvicorn: could not import module %q", app))
	}
}

func backendApplet(ctx context.Context, p Process, args []string) int {
	if len(args) > 0 {
		return p.fail(exitUsage, errors.New("backend: takes no arguments"))
	}
	return runBackend(ctx, p, "", "")
}

// runBackend serves until ctx ends; host and port win over the environment where they are not empty.
func runBackend(ctx context.Context, p Process, host, port string) int {
	lookup := p.lookup()
	cfg, err := backend.FromEnv(func(name string) string {
		switch {
		case name == "KTRDR_API_HOST" && host != "":
			return host
		case name == "KTRDR_API_PORT" && port != "":
			return port
		default:
			return lookup(name)
		}
	})
	if err != nil {
		return p.fail(exitFailure, err)
	}
	if cfg.DialDatabase {
		if err := database.Login(ctx, cfg.DatabaseAddr, cfg.DatabaseUser, cfg.DatabasePassword); err != nil {
			return p.fail(exitFailure, err)
		}
	}
	server := backend.New(cfg, client(), p.log())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		server.Watch(ctx)
		return nil
	})
	group.Go(func() error { return serve.Until(ctx, server.Handler(), net.JoinHostPort(cfg.Host, cfg.Port)) })
	return p.done(group.Wait())
}

func workerApplet(ctx context.Context, p Process, args []string) int {
	var f worker.Flags
	set := flags("worker")
	set.StringVar(&f.Type, "type", "", "")
	set.StringVar(&f.Port, "port", "", "")
	if err := set.Parse(args); err != nil {
		return p.fail(exitUsage, fmt.Errorf("worker: %w", err))
	}
	return runWorker(ctx, p, f)
}

func runWorker(ctx context.Context, p Process, f worker.Flags) int {
	cfg, err := worker.FromEnv(f, p.lookup())
	if err != nil {
		return p.fail(exitFailure, err)
	}
	if cfg.IgnoreTerm {
		ctx = context.WithoutCancel(ctx)
	}
	w := worker.New(cfg, client(), p.log())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		w.Attend(ctx)
		return nil
	})
	group.Go(func() error { return serve.Until(ctx, w.Handler(), net.JoinHostPort(cfg.Host, cfg.Port)) })
	group.Go(func() error {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTime)
		defer cancel()
		return w.Stop(grace)
	})
	return p.done(group.Wait())
}

func db(ctx context.Context, p Process, args []string) int {
	if len(args) > 0 {
		p.log().Info("postgres arguments are not used", "count", len(args))
	}
	cfg, err := database.FromEnv(p.lookup())
	if err != nil {
		return p.fail(exitFailure, err)
	}
	return p.done(database.Serve(ctx, cfg, p.log()))
}

func pgIsReady(ctx context.Context, p Process, args []string) int {
	set := flags("pg_isready")
	host, port := set.String("h", "localhost", ""), set.String("p", "5432", "")
	// The server has no users and one database, as far as readiness goes: pg_isready does not look at them either.
	set.String("U", "", "")
	set.String("d", "", "")
	if err := set.Parse(args); err != nil {
		return p.fail(3, fmt.Errorf("pg_isready: %w", err))
	}
	code := database.Probe(ctx, net.JoinHostPort(*host, *port))
	state := map[int]string{
		database.Accepting:  "accepting connections",
		database.Rejecting:  "rejecting connections",
		database.NoResponse: "no response",
	}[code]
	fmt.Fprintf(p.Stdout, "%s:%s - %s\n", *host, *port, state)
	return code
}

// prometheus needs a readable configuration file, as the real one does: a missing bind source shows.
func prometheus(ctx context.Context, p Process, args []string) int {
	for _, arg := range args {
		file, ok := strings.CutPrefix(strings.TrimPrefix(arg, "-"), "-config.file=")
		if !ok {
			continue
		}
		if _, err := os.ReadFile(file); err != nil {
			return p.fail(exitFailure, fmt.Errorf("load configuration: %w", err))
		}
	}
	return runHTTP(ctx, p, "prometheus", "9090")
}

// fixedHTTP is a stand-in whose arguments are not looked at.
func fixedHTTP(name string, ports ...string) run {
	return func(ctx context.Context, p Process, _ []string) int { return runHTTP(ctx, p, name, ports...) }
}

func httpApplet(ctx context.Context, p Process, args []string) int {
	set := flags("http")
	name := set.String("name", "http", "")
	var ports []string
	set.Func("port", "", func(v string) error {
		ports = append(ports, v)
		return environ.Port("--port", v)
	})
	if err := set.Parse(args); err != nil {
		return p.fail(exitUsage, fmt.Errorf("http: %w", err))
	}
	if len(ports) == 0 {
		return p.fail(exitUsage, errors.New("http: --port is required"))
	}
	return runHTTP(ctx, p, *name, ports...)
}

func runHTTP(ctx context.Context, p Process, name string, ports ...string) int {
	addrs := make([]string, len(ports))
	for i, port := range ports {
		addrs[i] = ":" + port
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		contract.WriteJSON(w, http.StatusOK, map[string]string{"name": name, "status": "ok"})
	})
	return p.done(serve.Until(ctx, handler, addrs...))
}
