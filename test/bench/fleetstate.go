package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeFleet writes a repository in which all nodes run one stack of 20 services.
func (c *controller) writeFleet(nodes []string) error {
	if err := os.RemoveAll(filepath.Join(c.repo, "nodes")); err != nil {
		return err
	}
	files := map[string]string{
		"fleet.yaml":            "kind: Fleet\nmetadata: {name: bench}\nspec: {}\n",
		"stacks/app/stack.yaml": "kind: Stack\nmetadata: {name: app}\nspec: {}\n",
	}
	for _, node := range nodes {
		files["nodes/"+node+".yaml"] = "kind: Node\nmetadata: {name: " + node + "}\nspec: {stacks: [{name: app}]}\n"
	}
	for name, text := range files {
		if err := c.write(name, "apiVersion: ktrdr.io/v1alpha1\n"+text); err != nil {
			return err
		}
	}
	return nil
}

func (c *controller) write(name, text string) error {
	path := filepath.Join(c.repo, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a repository
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}

// change commits another image tag for all services.
func (c *controller) change(ctx context.Context, number int) error {
	var compose strings.Builder
	compose.WriteString("services:\n")
	for i := range 20 {
		fmt.Fprintf(&compose, "  service-%02d:\n    image: registry.example.org/team/service-%02d:v%d\n    environment: {NAME: service-%02d}\n", i, i, number, i)
	}
	if err := c.write("stacks/app/compose.yaml", compose.String()); err != nil {
		return err
	}
	if _, err := c.git(ctx, "add", "--all"); err != nil {
		return err
	}
	_, err := c.git(ctx, "commit", "--quiet", "--message", fmt.Sprintf("v%d", number))
	return err
}
