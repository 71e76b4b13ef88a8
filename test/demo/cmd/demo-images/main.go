// Demo-images makes the demonstration images in an engine, or removes them with -remove. It must be run inside this
// module, because it compiles the program that the images hold.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"ktrdr.io/fleet/test/demo/image"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo-images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	set := flag.NewFlagSet("demo-images", flag.ContinueOnError)
	host := set.String("host", defaultHost(), "engine `address`")
	program := set.String("program", "", "ready ktrdrsim `executable` instead of compiling one")
	remove := set.Bool("remove", false, "remove the images instead")
	var tags []string
	set.Func("tag", "one more `tag` of "+image.BackendRepository+" for version 1 (may be repeated)", func(tag string) error {
		tags = append(tags, tag)
		return nil
	})
	if err := set.Parse(args); err != nil {
		return err
	}
	if set.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	opts := image.Options{Host: *host, Program: *program, Specs: image.Catalog(tags...)}
	if *remove {
		return removeAll(ctx, opts, out)
	}
	built, err := image.Build(ctx, opts)
	if err != nil {
		return err
	}
	for _, one := range built {
		fmt.Fprintf(out, "%s  %s\n", one.ID, strings.Join(one.Tags, " "))
	}
	return nil
}

func removeAll(ctx context.Context, opts image.Options, out io.Writer) error {
	removed, err := image.Remove(ctx, opts)
	for _, tag := range removed {
		fmt.Fprintln(out, "removed", tag)
	}
	return err
}

func defaultHost() string {
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		return host
	}
	return image.DefaultHost
}
