package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// news is one line of the output.
type news struct {
	// Kind is joined, connected, slice, lost or failed.
	Kind     string    `json:"kind"`
	Node     string    `json:"node"`
	Revision string    `json:"revision,omitzero"`
	At       time.Time `json:"at"`
	Message  string    `json:"message,omitzero"`
}

// options are the command line.
type options struct {
	target   string
	services int
}

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var o options
	flags := flag.NewFlagSet("swarm", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.target, "target", "127.0.0.1:8443", "controller as `host:port`")
	flags.IntVar(&o.services, "services", 20, "services that each node reports")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	tokens, err := readTokens(stdin)
	if err != nil {
		fmt.Fprintln(stderr, "swarm:", err)
		return 1
	}
	s := &swarm{options: o, out: json.NewEncoder(stdout), joining: make(chan struct{}, 8)}
	g, ctx := errgroup.WithContext(ctx)
	for i, token := range tokens {
		g.Go(func() error { return s.live(ctx, i, token) })
	}
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(stderr, "swarm:", err)
		return 1
	}
	return 0
}

// readTokens reads "<node> <join token>" lines until the input ends.
func readTokens(in io.Reader) ([]string, error) {
	var tokens []string
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		_, token, ok := strings.Cut(lines.Text(), " ")
		if !ok {
			return nil, fmt.Errorf("line %d is not \"<node> <join token>\"", len(tokens)+1)
		}
		tokens = append(tokens, token)
	}
	return tokens, lines.Err()
}

// swarm is what all agents share.
type swarm struct {
	options
	joining chan struct{} // bounds how many join at once

	mu  sync.Mutex
	out *json.Encoder
}

func (s *swarm) tell(n news) {
	if n.At.IsZero() {
		n.At = time.Now()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.out.Encode(n) // a reader that is gone ends the process by a signal
}

// addressOf gives groups of agents addresses of their own on loopback: a controller bounds
// what one address may try without a certificate.
func addressOf(agent int) netip.Addr {
	group := agent / 20
	// Another swarm of the same machine has others.
	return netip.AddrFrom4([4]byte{127, byte(1 + os.Getpid()%250), byte(group / 250), byte(1 + group%250)})
}
