// Command ktrdr-controller brings revisions of the desired state to the nodes of a fleet.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"ktrdr.io/fleet/pkg/api"
	"ktrdr.io/fleet/pkg/configfile"
	"ktrdr.io/fleet/pkg/controller"
	"ktrdr.io/fleet/pkg/telemetry"
)

const usage = `ktrdr-controller brings revisions of the desired state to the nodes of a fleet.

  ktrdr-controller init [--admin admin] [--out FILE] [--once]
                                                        make the fleet's authority and its first admin, before run.
                                                        With an etcd that has a fleet: check that this machine fits it
  ktrdr-controller run                                  run until SIGTERM; SIGHUP reads the authority's files anew
  ktrdr-controller check                                check the configuration file and exit
  ktrdr-controller operator add NAME --role ROLE --out FILE
                                                        let somebody in, on the controller's own machine, while it does not run
  ktrdr-controller authority replace                    make the authority on this machine the fleet's: nodes have to join again
  ktrdr-controller backup --out FILE                    back the store up, also while the controller runs; FILE may be -
  ktrdr-controller restore --from FILE [--prefix PREFIX]
                                                        fill an empty store, embedded or external, from a backup of either
  ktrdr-controller version                              print the version

All but version take --config FILE. Default: /etc/ktrdr/controller.yaml if it exists.
`

// gcPercent is how much garbage may be there before it is collected, of what is in use: a fifth of
// Go's default. A controller mostly waits for its agents, and what a burst of work leaves behind
// between live objects grows with it; it costs half a second of a push to 1,000 nodes
// (docs/benchmarks.md). GOGC overrides it.
const gcPercent = 20

// defaultConfig may be absent: the defaults are enough to start with.
const defaultConfig = "/etc/ktrdr/controller.yaml"

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	command, rest := args[0], args[1:]
	if command == "operator" && len(rest) > 0 && rest[0] == "add" {
		command, rest = "operator add", rest[1:]
	}
	if command == "authority" && len(rest) > 0 && rest[0] == "replace" {
		command, rest = "authority replace", rest[1:]
	}
	switch command {
	case "run", "init", "check", "operator add", "authority replace", "backup", "restore":
		return configured(command, rest, stdout, stderr)
	case "version", "--version":
		fmt.Fprintln(stdout, api.Version, api.Commit)
		return 0
	case "help", "--help", "-h":
		fmt.Fprint(stdout, usage)
		return 0
	}
	fmt.Fprintf(stderr, "ktrdr-controller: unknown command %q\n\n%s", command, usage)
	return 2
}

// options are the flags of all commands.
type options struct {
	config, role, out  string
	name, from, prefix string
	once               bool
}

func parse(command string, args []string, stderr io.Writer) (options, bool) {
	var o options
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.config, "config", "", "configuration `file`")
	switch command {
	case "init":
		flags.StringVar(&o.name, "admin", "admin", "`name` of the first admin")
		flags.BoolVar(&o.once, "once", false, "do nothing when the fleet has an operator already")
		flags.StringVar(&o.out, "out", "", "`file` for the admin's credentials; default admin.yaml in the state folder")
		o.role = "admin"
	case "operator add":
		flags.StringVar(&o.role, "role", "", "viewer, operator or `admin`")
		flags.StringVar(&o.out, "out", "", "`file` for the credentials")
	case "backup":
		flags.StringVar(&o.out, "out", "", "new `file` for the backup; - for the standard output")
	case "restore":
		flags.StringVar(&o.from, "from", "", "`file` with a backup; - for the standard input")
		flags.StringVar(&o.prefix, "prefix", "", "of the fleet's keys in a backup of a cluster that has several")
	}
	// The name may stand before the flags, as people write it.
	if command == "operator add" && len(args) > 0 && args[0] != "" && args[0][0] != '-' {
		o.name, args = args[0], args[1:]
	}
	if flags.Parse(args) != nil {
		return o, false
	}
	if command == "operator add" && (o.name == "" || o.role == "" || o.out == "") {
		fmt.Fprintln(stderr, "ktrdr-controller: operator add needs a name, --role and --out")
		return o, false
	}
	if needed, ok := map[string]string{"backup": "out", "restore": "from"}[command]; ok && o.out+o.from == "" {
		fmt.Fprintf(stderr, "ktrdr-controller: %s needs --%s FILE\n", command, needed)
		return o, false
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "ktrdr-controller: %s takes no %q; flags stand before everything else\n", command, flags.Arg(0))
		return o, false
	}
	return o, true
}

func configured(command string, args []string, stdout, stderr io.Writer) int {
	o, ok := parse(command, args, stderr)
	if !ok {
		return 2
	}
	cfg, err := readConfig(o.config)
	if err != nil {
		return invalid(command, o, err, stderr)
	}
	log, err := telemetry.NewLogger(stderr, cfg.Log.Level, cfg.Log.Format)
	if err != nil {
		return invalid(command, o, err, stderr)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	switch command {
	case "check":
		return 0
	case "run":
		return serve(ctx, cfg, log)
	case "backup":
		err = backup(ctx, cfg, o, stdout)
	case "restore":
		err = restore(ctx, cfg, o, stdout)
	default:
		err = manage(ctx, command, cfg, o, stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "ktrdr-controller:", err)
		return 1
	}
	return 0
}

// manage runs what is done on the controller's machine.
func manage(ctx context.Context, command string, cfg controller.Config, o options, stdout io.Writer) error {
	if command == "authority replace" {
		return controller.ReplaceAuthority(ctx, cfg)
	}
	if o.out == "" {
		o.out = cfg.CredentialsFile()
	}
	admission := controller.Admission{Name: o.name, Role: o.role, File: o.out, Once: o.once}
	admitted, err := true, error(nil)
	if command == "init" {
		admitted, err = controller.Init(ctx, cfg, admission)
	} else {
		err = controller.AddOperator(ctx, cfg, admission)
	}
	switch {
	case err != nil:
		return err
	case !admitted && o.once:
		return nil
	case !admitted:
		fmt.Fprintln(stdout, "this machine has the authority of the fleet in this etcd, whose operators stay as they are: start the controller")
		return nil
	}
	fmt.Fprintf(stdout, "%s is %s now; the credentials are in %s\nOn the operator's machine: ktrdrctl context add home --from %s; then delete the file.\n", o.name, o.role, o.out, o.out)
	return nil
}

func readConfig(path string) (controller.Config, error) {
	if path == "" {
		if _, err := os.Stat(defaultConfig); errors.Is(err, fs.ErrNotExist) {
			cfg := controller.Default()
			err := cfg.Validate()
			return cfg, err
		}
		path = defaultConfig
	}
	return controller.ReadConfig(path)
}

func serve(ctx context.Context, cfg controller.Config, log *slog.Logger) int {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	reload := make(chan struct{}, 1)
	go func() {
		for range hangups {
			select {
			case reload <- struct{}{}:
			default:
			}
		}
	}()
	if err := controller.Run(ctx, cfg, reload, log); err != nil && !errors.Is(err, context.Canceled) {
		log.Error("controller ends", "err", err)
		return 1
	}
	return 0
}

// invalid tells what is wrong with the configuration, and returns the exit code of a command.
func invalid(command string, o options, err error, stderr io.Writer) int {
	switch {
	case !configfile.Invalid(err): // a disk or a moment, not the text
	case command == "init" && o.once:
		// systemd heeds the code of run only, which comes next and says it in full.
		fmt.Fprintln(stderr, "ktrdr-controller: nothing is made, the configuration is invalid")
		return 0
	case command == "run":
		fmt.Fprintf(stderr, "ktrdr-controller: the configuration is invalid; correct it, then systemctl restart ktrdr-controller\n%v\n", err)
		return configfile.InvalidCode
	}
	fmt.Fprintln(stderr, "ktrdr-controller:", err)
	return 1
}
