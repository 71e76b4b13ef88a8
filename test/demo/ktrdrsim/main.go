// Ktrdrsim stands in for KTRDR's programs and for the tools that the user's Compose files call. It is a test fixture:
// the only program of the demonstration image, under many names.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"ktrdr.io/fleet/test/demo/ktrdrsim/internal/applet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := applet.Run(ctx, applet.Process{
		Args: os.Args, Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	})
	stop()
	os.Exit(code)
}
