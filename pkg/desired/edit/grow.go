package edit

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v4"
)

// maxPort is the last port there is.
const maxPort = 65535

// grow writes the ports of slots that a template did not have so far, so that slot and port
// stay together for good, whatever other pools take later. A pool without nextPort is full.
func (w *workspace) grow(stacks []string, s Scale) error {
	for _, stack := range stacks {
		f, spec, err := w.stack(stack)
		if err != nil {
			return err
		}
		pool := child(spec, "pools", s.Pool)
		ports := child(pool, "ports")
		next, err := strconv.Atoi(scalar(child(pool, "nextPort")))
		if scalar(child(pool, "template")) == "" || err != nil || ports == nil || len(ports.Content) == 0 {
			continue
		}
		if limit, err := strconv.Atoi(scalar(child(pool, "max"))); err == nil && s.Size > limit {
			continue // for desired.Validate to refuse
		}
		taken := w.poolPorts(stacks)
		for slot := len(ports.Content) + 1; slot <= s.Size; slot++ {
			for slices.Contains(taken, next) {
				next++
			}
			if next > maxPort {
				return fail(f.at(ports), "no port is free for slot %d of pool %s", slot, s.Pool)
			}
			taken = append(taken, next)
			// The file is parsed anew at each change.
			ports = child(f.top, "spec", "pools", s.Pool, "ports")
			if err := f.addItem(ports, strconv.Itoa(next), fmt.Sprintf("port %d for slot %d of pool %s", next, slot, s.Pool)); err != nil {
				return err
			}
		}
	}
	return nil
}

// poolPorts are the ports that pools of stacks have written down.
func (w *workspace) poolPorts(stacks []string) []int {
	var taken []int
	for _, stack := range stacks {
		_, spec, err := w.stack(stack)
		if err != nil {
			continue // it was told when the pool was looked for
		}
		for name := range entries(child(spec, "pools")) {
			list := child(spec, "pools", name, "ports")
			if list == nil {
				continue
			}
			for _, item := range list.Content {
				if port, err := strconv.Atoi(scalar(item)); err == nil {
					taken = append(taken, port)
				}
			}
		}
	}
	return taken
}

// addItem adds a value to the end of a list that has one already.
func (f *file) addItem(list *yaml.Node, value, summary string) error {
	if list == nil || list.Kind != yaml.SequenceNode || len(list.Content) == 0 {
		return fail(f.at(list), "is not a list that can be extended: edit it by hand")
	}
	if list.Anchor != "" && aliased(f.top, list) {
		return fail(f.at(list), "has the anchor &%s, which other places use: edit it by hand", list.Anchor)
	}
	last := list.Content[len(list.Content)-1]
	_, end, ok := f.extent(last)
	if !ok {
		return fail(f.at(last), "goes over several lines: edit it by hand")
	}
	want := clone(f.top)
	into := place(want, f.top, list).node
	into.Content = append(into.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: value, Tag: anyScalar})
	if list.Style&yaml.FlowStyle != 0 {
		return f.accept(summary, want, slices.Concat(f.data[:end], []byte(", "+value), f.data[end:]))
	}
	line := lines(f.data)[last.Line-1]
	before, _, found := bytes.Cut(line, []byte("-"))
	if !found {
		return fail(f.at(last), "can't be extended: edit it by hand")
	}
	return f.accept(summary, want, f.insert(last.Line, string(before)+"- "+value+f.lineEnding()))
}
