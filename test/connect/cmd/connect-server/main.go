// Connect-server is a stand-in for a 1Password Connect server on this machine: it serves
// the vaults of a fixture file, writes a token for all of them into a file, and takes
// changes of the fixture's values over within a second. For the quickstart and for tests by
// hand; it must not be reachable from elsewhere.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"ktrdr.io/fleet/test/connect"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		fmt.Fprintln(os.Stderr, "connect-server:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	set := flag.NewFlagSet("connect-server", flag.ContinueOnError)
	listen := set.String("listen", "127.0.0.1:8089", "`address`")
	data := set.String("data", "", "fixture `file` of vaults and items")
	tokenFile := set.String("token-file", "", "`file` for a token that reads all vaults")
	expires := set.Duration("expires", 0, "how long the token is good; 0 for ever")
	if err := set.Parse(args); err != nil {
		return err
	}
	if *data == "" || *tokenFile == "" || set.NArg() > 0 {
		return errors.New("needs -data FILE and -token-file FILE, and no other argument")
	}
	server, err := connect.New()
	if err != nil {
		return err
	}
	if err := server.Load(*data); err != nil {
		return err
	}
	if err := writeToken(server, *tokenFile, *expires); err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "listening on http://"+l.Addr().String())
	return serve(ctx, l, server, *data)
}

func writeToken(server *connect.Server, path string, good time.Duration) error {
	grant := connect.Grant{}
	for _, v := range server.Vaults() {
		grant.Vaults = append(grant.Vaults, v.ID)
	}
	if good > 0 {
		grant.Expires = time.Now().Add(good)
	}
	token, err := server.Issue(grant)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(token+"\n"), 0o600)
}

func serve(ctx context.Context, l net.Listener, server *connect.Server, data string) error {
	web := &http.Server{Handler: server, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- web.Serve(l) }()
	var seen time.Time
	for {
		if info, err := os.Stat(data); err == nil && !info.ModTime().Equal(seen) {
			if err := server.Reload(data); err != nil {
				fmt.Fprintln(os.Stderr, "connect-server:", err)
			}
			seen = info.ModTime()
		}
		select {
		case err := <-done:
			return err
		case <-time.After(time.Second):
		case <-ctx.Done():
			return web.Close()
		}
	}
}
