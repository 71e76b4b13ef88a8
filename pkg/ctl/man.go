package ctl

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ktrdr.io/fleet/pkg/api"
)

func (s *session) manCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "man DIR",
		Short:   "Write man pages into a folder",
		Long:    "Writes ktrdrctl.1 and one page for each verb, such as ktrdrctl-status.1. The same program writes the same bytes.",
		Example: "ktrdrctl man /usr/local/share/man/man1",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil { //nolint:gosec // for all to read
				return fmt.Errorf("write man pages: %w", err)
			}
			all := append([]*cobra.Command{cmd.Root()}, visible(cmd.Root())...)
			for _, c := range all {
				path := filepath.Join(args[0], pageName(c)+".1")
				if err := os.WriteFile(path, manPage(c), 0o644); err != nil { //nolint:gosec // for all to read
					return fmt.Errorf("write man pages: %w", err)
				}
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s in %s\n", counted(len(all), "page"), args[0])
			return err
		},
	}
}

// visible are the verbs of a command that its help lists, those of verbs included.
func visible(cmd *cobra.Command) []*cobra.Command {
	var found []*cobra.Command
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			found = append(append(found, c), visible(c)...)
		}
	}
	return found
}

func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// page writes the man macros (man(7)).
type page struct{ bytes.Buffer }

// manPage has no date: releases are reproducible.
func manPage(c *cobra.Command) []byte {
	p := &page{}
	p.macro("TH", strings.ToUpper(pageName(c)), "1", "", "ktrdrctl "+api.Version, "ktrdr")
	p.macro("SH", "NAME")
	p.text(pageName(c) + " - " + c.Short)
	p.macro("SH", "SYNOPSIS")
	p.text(c.UseLine())
	p.macro("SH", "DESCRIPTION")
	p.text(orElse(c.Long, c.Short))
	p.commands(c)
	p.flags("OPTIONS", c.NonInheritedFlags())
	p.flags("OPTIONS OF ALL VERBS", c.InheritedFlags())
	if c.Example != "" {
		p.macro("SH", "EXAMPLES")
		p.verbatim(c.Example)
	}
	p.macro("SH", "EXIT STATUS")
	p.verbatim(exitHelp)
	if c.HasParent() {
		p.macro("SH", "SEE ALSO")
		p.text(pageName(c.Parent()) + "(1)")
	}
	return p.Bytes()
}

func (p *page) commands(c *cobra.Command) {
	below := visible(c)
	if len(below) == 0 {
		return
	}
	p.macro("SH", "COMMANDS")
	for _, sub := range below {
		p.macro("TP")
		p.macro("B", pageName(sub)+"(1)")
		p.text(sub.Short)
	}
}

func (p *page) flags(title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	p.macro("SH", title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		kind, usage := pflag.UnquoteUsage(f)
		if kind != "" {
			name += " " + kind
		}
		switch f.DefValue {
		case "", "false", "0", "0s", "[]":
		default:
			usage += " (default " + f.DefValue + ")"
		}
		p.macro("TP")
		p.macro("B", name)
		p.text(usage)
	})
}

// macro writes a request with its arguments.
func (p *page) macro(name string, args ...string) {
	p.WriteString("." + name)
	for _, arg := range args {
		p.WriteString(` "` + strings.ReplaceAll(roffText(arg), `"`, `\(dq`) + `"`)
	}
	p.WriteByte('\n')
}

// text writes a paragraph.
func (p *page) text(text string) {
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		p.WriteString(roffLine(line) + "\n")
	}
}

// verbatim keeps lines as they are.
func (p *page) verbatim(text string) {
	p.macro("nf")
	for line := range strings.SplitSeq(text, "\n") {
		p.WriteString(roffLine(line) + "\n")
	}
	p.macro("fi")
}

func roffText(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(text)
}

// roffLine keeps a line from being taken for a request.
func roffLine(line string) string {
	line = roffText(line)
	if strings.HasPrefix(line, ".") {
		return `\&` + line
	}
	return line
}
