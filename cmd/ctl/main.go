// Command ktrdrctl shows and steers a ktrdr fleet.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"ktrdr.io/fleet/pkg/ctl"
)

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return ctl.Main(ctx, ctl.Process{Args: os.Args[1:], Env: os.Getenv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
}
