package join

import (
	"context"
	"fmt"
	"io"
	"os"
)

// Departure says what is left.
type Departure struct {
	CredentialsDir string
	ConfigFile     string
	System         System
	Out            io.Writer
}

// Leave stops the agent and removes the node's credentials. Containers run on, and the
// agent's memory of them stays.
func Leave(ctx context.Context, d Departure) error {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(d.Out, "- "+format+"\n", args...) }
	done, err := d.System.Stop(ctx)
	if done != "" {
		say("%s", done)
	}
	if err != nil {
		return fmt.Errorf("nothing was removed, because the agent does not stop: %w", err)
	}
	if err := os.RemoveAll(d.CredentialsDir); err != nil {
		return fmt.Errorf("remove the credentials by hand: %w", err)
	}
	say("removed %s; the controller goes on to know the node until ktrdrctl node remove", d.CredentialsDir)
	say("containers run on; %s stays: set source.git there to go on without a controller, or join again", d.ConfigFile)
	return nil
}
