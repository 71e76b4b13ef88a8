package engine_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// variable is a ${NAME} without a default.
var variable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)(:?\?[^}]*)?\}|\$([A-Za-z_][A-Za-z0-9_]*)`)

// completeCorpusFile gives a public file what its reader was to supply: an image to
// services that are only built, and values to variables. Both sides read the result.
func completeCorpusFile(t *testing.T, folder, name string) {
	t.Helper()
	path := filepath.Join(folder, name)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nameImages(data), 0o600); err != nil {
		t.Fatal(err)
	}
	// The user's files have their variables in .env.core and the like.
	env, err := os.ReadFile(filepath.Join(folder, ".env"))
	if err != nil {
		middle := strings.Split(name, ".")
		env, _ = os.ReadFile(filepath.Join(folder, ".env."+middle[len(middle)/2]))
	}
	values := map[string]string{}
	for _, match := range variable.FindAllStringSubmatch(strings.ReplaceAll(string(data), "$$", ""), -1) {
		if key := match[1] + match[3]; !regexp.MustCompile(`(?m)^` + key + `=`).Match(env) {
			values[key] = valueOf(key)
		}
	}
	text := string(env)
	for _, key := range slices.Sorted(maps.Keys(values)) {
		text += "\n" + key + "=" + values[key]
	}
	if err := os.WriteFile(filepath.Join(folder, ".env"), []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func valueOf(key string) string {
	switch {
	case strings.Contains(key, "PORT"):
		return "5432"
	case strings.Contains(key, "DIR"), strings.Contains(key, "PATH"), strings.Contains(key, "MOUNT"):
		return "/srv/" + strings.ToLower(key)
	}
	return "value-of-" + strings.ToLower(strings.ReplaceAll(key, "_", "-"))
}

// nameImages adds an image to services that have none; a file that is no YAML stays.
func nameImages(data []byte) []byte {
	var document yaml.Node
	if yaml.Unmarshal(data, &document) != nil || len(document.Content) == 0 {
		return data
	}
	services := child(document.Content[0], "services")
	if services == nil {
		return data
	}
	changed := false
	for i := 0; i+1 < len(services.Content); i += 2 {
		service := services.Content[i+1]
		if child(service, "build") != nil && child(service, "image") == nil {
			service.Content = append(service.Content,
				&yaml.Node{Kind: yaml.ScalarNode, Value: "image"},
				&yaml.Node{Kind: yaml.ScalarNode, Value: "built/" + services.Content[i].Value})
			changed = true
		}
	}
	if !changed {
		return data
	}
	made, err := yaml.Marshal(&document)
	if err != nil {
		return data
	}
	return made
}

func child(node *yaml.Node, key string) *yaml.Node {
	if node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}
