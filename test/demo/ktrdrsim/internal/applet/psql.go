package applet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/database"
)

// psql knows two commands. `\password` reads the new password twice from its input, as psql does without a terminal, and gives
// it to the user of -U; `select 1` logs in. With -h it goes over TCP and needs PGPASSWORD; without it over the local socket, where
// everybody is trusted.
func psql(ctx context.Context, p Process, args []string) int {
	lookup := p.lookup()
	set := flags("psql")
	host, port := set.String("h", lookup("PGHOST"), ""), set.String("p", "5432", "")
	user, command := set.String("U", lookup("PGUSER"), ""), set.String("c", "", "")
	set.String("d", "", "")
	for _, name := range []string{"X", "w", "A", "t"} {
		set.Bool(name, false, "")
	}
	if err := set.Parse(args); err != nil {
		return p.fail(exitFailure, fmt.Errorf("psql: %w", err))
	}
	connect := func() error {
		if *host == "" {
			return database.Trusted(ctx, lookup("PGDATA"))
		}
		return database.Login(ctx, net.JoinHostPort(*host, *port), *user, lookup("PGPASSWORD"))
	}
	if err := connect(); err != nil {
		return p.fail(exitUsage, fmt.Errorf("psql: %w", err)) // 2 is psql's code for no connection
	}
	switch {
	case strings.EqualFold(*command, "select 1"):
		fmt.Fprintln(p.Stdout, "1")
		return 0
	case *command == `\password` && *host == "":
		return p.alterPassword(ctx, *user)
	}
	return p.fail(exitFailure, fmt.Errorf("psql: only `\\password` (over the local socket) and `select 1` are known, not %q", *command))
}

func (p Process) alterPassword(ctx context.Context, user string) int {
	lines := bufio.NewScanner(p.Stdin)
	var typed []string
	for len(typed) < 2 && lines.Scan() {
		typed = append(typed, lines.Text())
	}
	if len(typed) < 2 || typed[0] != typed[1] {
		return p.fail(exitFailure, errors.New("psql: the passwords didn't match"))
	}
	if err := database.Alter(ctx, p.lookup()("PGDATA"), user, typed[0]); err != nil {
		return p.fail(exitFailure, fmt.Errorf("psql: %w", err))
	}
	return 0
}
