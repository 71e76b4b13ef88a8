// Package yamlpos tells where in a YAML file a value stands, so that every error about
// desired state can name its line and column.
//
// It parses with go.yaml.in/yaml/v4, the parser that compose-go uses: two parsers would
// disagree about what is valid and where things are. It never decodes into Go types, never
// touches the file system, and refuses files whose aliases expand without bound.
//
// pkg/desired and pkg/desired/compose call it.
package yamlpos
