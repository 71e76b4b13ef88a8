package ctl

import (
	"strings"

	"github.com/spf13/cobra"
)

// Verbs are all commands that do something, as they are written behind "ktrdrctl": "status",
// "node list". Tests that look at what ktrdrctl prints go through them, so that none is
// forgotten.
func Verbs() []string {
	root := newRoot(&session{process: Process{Env: func(string) string { return "" }}})
	var verbs []string
	for _, c := range below(root) {
		if c.Runnable() {
			verbs = append(verbs, strings.TrimPrefix(c.CommandPath(), root.Name()+" "))
		}
	}
	return verbs
}

// below are all commands below one, hidden ones included.
func below(cmd *cobra.Command) []*cobra.Command {
	var found []*cobra.Command
	for _, c := range cmd.Commands() {
		found = append(append(found, c), below(c)...)
	}
	return found
}
