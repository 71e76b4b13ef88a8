// Package edit changes single values in the files of a desired-state repository, in place:
// comments, order, quoting, indentation and line endings stay, and all lines but the edited
// ones are the same bytes. SetScale writes the scale of a pool of a node, SetTag finds what
// makes the tag of a service's image and writes that.
//
// Each change is checked before it is returned: the new text must parse to what the old one
// was, but for the one value. What can't be changed that way (a value behind a YAML anchor, a
// text over several lines) is an error that says where it stands.
//
// The package writes no file, does not validate the repository (pkg/desired does) and never
// touches fleet.yaml: what is said there is said for other stacks too. The controller's and
// ktrdrctl's verbs call it.
package edit
