package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	rounds      int
	idle        time.Duration
	only        string
	socket      string
	withCompose bool
	// readyAgent is a binary to measure; empty builds one.
	readyAgent string
}

// bench is what the measures share.
type bench struct {
	options
	engine *engine
	// dir holds the programs and everything that a run writes.
	dir     string
	agent   string // path of ktrdr-agent
	compose string // path of docker compose; empty when it can't be had
	log     io.Writer
}

// measure is one group of rows of the table.
type measure struct {
	name string
	run  func(ctx context.Context, b *bench) ([]row, error)
}

func measures() []measure {
	return []measure{
		{"cold", coldStart},
		{"noop", noOpRound},
		{"chain", chain},
		{"heal", heal},
		{"edit", edit},
		{"death", death},
		{"shim", shim},
		{"idle", idle},
		{"scale", scale},
		{"fleet", fleet},
	}
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	opts, err := parse(args, stderr)
	if err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	unlock, err := lock()
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	defer unlock()
	b := &bench{options: opts, engine: newEngine(opts.socket), log: stderr}
	defer b.leave(ctx)
	b.engine.sweepAll(ctx) // what an aborted run left
	sweepFolders()
	if b.dir, err = os.MkdirTemp("", "ktrdr-bench-"); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	if err := b.prepare(ctx); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	rows, err := b.measure(ctx)
	table(stdout, rows)
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

// lock keeps a second run away, which would remove the containers of this one. The kernel
// lets go of it when the process ends, however that comes about.
func lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "ktrdr-bench.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another run is under way (%s): %w", f.Name(), err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.rounds, "rounds", 5, "how often floor and measure take turns")
	flags.DurationVar(&o.idle, "idle", time.Minute, "how long the idle agent is left alone, and then watched")
	flags.StringVar(&o.only, "only", "", "comma-separated `measures`: "+strings.Join(names(), ", "))
	flags.StringVar(&o.socket, "socket", "/var/run/docker.sock", "the engine's socket")
	flags.StringVar(&o.readyAgent, "agent", "", "a ready ktrdr-agent `binary` in place of one built from this tree")
	flags.BoolVar(&o.withCompose, "compose", true, "measure docker compose as well")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	for _, name := range o.selected() {
		if !slices.Contains(names(), name) {
			err := fmt.Errorf("unknown measure %q", name)
			fmt.Fprintln(stderr, "bench:", err)
			return o, err
		}
	}
	if o.rounds < 1 {
		return o, errors.New("rounds must be positive")
	}
	return o, nil
}

func names() []string {
	var all []string
	for _, m := range measures() {
		all = append(all, m.name)
	}
	return all
}

func (o options) selected() []string {
	if o.only == "" {
		return names()
	}
	return strings.Split(o.only, ",")
}

// measure runs what was selected. One measure that fails does not cost the others.
func (b *bench) measure(ctx context.Context) ([]row, error) {
	var rows []row
	var errs []error
	for _, m := range measures() {
		if !slices.Contains(b.selected(), m.name) || ctx.Err() != nil {
			continue
		}
		limited, cancel := context.WithTimeout(ctx, time.Hour)
		list, err := m.run(limited, b)
		cancel()
		b.engine.sweepAll(ctx)
		rows = append(rows, list...)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
		}
	}
	return rows, errors.Join(append(errs, ctx.Err())...)
}

func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.log, format+"\n", args...) }
