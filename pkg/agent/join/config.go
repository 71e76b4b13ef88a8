package join

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// writeConfig replaces node and source in the configuration file, and keeps everything
// else as it is written there. What it makes is read back before it counts.
func (r *run) writeConfig(context.Context) error {
	before, err := os.ReadFile(r.ConfigFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read configuration: %w", err)
	}
	endpoints := []string{r.target}
	for _, e := range r.settings.Endpoints {
		if !slices.Contains(endpoints, e) {
			endpoints = append(endpoints, e)
		}
	}
	text := configure(string(before), r.token.Node, endpoints, r.settings.CredentialsDir)
	if text == string(before) {
		r.say("%s is as it should be", r.ConfigFile)
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(r.ConfigFile), 0o755); err != nil { //nolint:gosec // /etc/ktrdr holds no secret by itself
		return fmt.Errorf("make the folder of the configuration: %w", err)
	}
	if r.exists {
		copied, err := keepCopy(r.ConfigFile, before)
		if err != nil {
			return fmt.Errorf("keep a copy of the configuration: %w", err)
		}
		r.say("the configuration as it was is in %s", copied)
	}
	// A link stays one: what manages the file it names goes on to do so.
	file, mode := r.ConfigFile, fs.FileMode(0o600)
	if resolved, err := filepath.EvalSymlinks(file); err == nil {
		file = resolved
	}
	if info, err := os.Stat(file); err == nil {
		mode = info.Mode().Perm()
	}
	tmp := file + ".new"
	if err := writeAs(tmp, text, mode); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	defer os.Remove(tmp) //nolint:errcheck // gone when all went well
	got, err := r.Read(tmp)
	if err != nil || got.Node != r.token.Node || len(got.Endpoints) == 0 {
		return fmt.Errorf("%s can't be changed by this program; set node: %s and source.controller.endpoints: [%s] by hand and run join again: %w",
			r.ConfigFile, r.token.Node, strings.Join(endpoints, ", "), err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	r.say("%s follows the controller", r.ConfigFile)
	return nil
}

// keepCopy writes what a file held beside it, under a name that nothing has yet.
func keepCopy(name string, content []byte) (string, error) {
	stem := name + ".before-" + time.Now().UTC().Format("20060102T150405Z")
	for n := 1; ; n++ {
		copied := stem
		if n > 1 {
			copied += "-" + strconv.Itoa(n)
		}
		file, err := os.OpenFile(copied, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // beside the file that the operator names
		if errors.Is(err, fs.ErrExist) {
			continue // of another join within the second
		}
		if err != nil {
			return "", err
		}
		_, err = file.Write(content)
		return copied, errors.Join(err, file.Close())
	}
}

// writeAs makes a file with a mode, whatever the umask.
func writeAs(name, text string, mode fs.FileMode) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Chmod(name, mode)
}

// configure returns a configuration with another node and source. A top-level key reaches
// to the next line that begins with another one; comments and everything else stay.
func configure(text, node string, endpoints []string, credentials string) string {
	var source strings.Builder
	source.WriteString("source:\n  controller:\n    endpoints:\n")
	for _, e := range endpoints {
		source.WriteString("      - " + quote(e) + "\n")
	}
	source.WriteString("    credentialsDir: " + quote(credentials) + "\n")
	out := replaceKey(text, "source", source.String())
	return replaceKey(out, "node", "node: "+quote(node)+"\n")
}

func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func replaceKey(text, key, block string) string {
	var out strings.Builder
	inside, done := false, false
	for line := range strings.SplitAfterSeq(text, "\n") {
		top := line != "" && !strings.ContainsAny(line[:1], " \t\r\n#-")
		if top {
			inside = strings.HasPrefix(line, key+":")
		}
		switch {
		case inside && top && !done:
			out.WriteString(block)
			done = true
		case inside && (top || !strings.HasPrefix(line, "#") && strings.TrimSpace(line) != ""):
		default:
			out.WriteString(line)
		}
	}
	if !done {
		if text := out.String(); text != "" && !strings.HasSuffix(text, "\n") {
			out.WriteString("\n")
		}
		out.WriteString(block)
	}
	return out.String()
}
