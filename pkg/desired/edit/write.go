package edit

import (
	"bytes"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// setScalar replaces the value of a scalar, keeping its quotes, anchor and comment.
func (f *file) setScalar(node *yaml.Node, value, summary string) error {
	if node.Kind != yaml.ScalarNode && node.Kind != yaml.AliasNode {
		return fail(f.at(node), "is not a single value: edit it by hand")
	}
	if node.Anchor != "" && aliased(f.top, node) {
		return fail(f.at(node), "has the anchor &%s, which other places use: edit it by hand", node.Anchor)
	}
	start, end, ok := f.extent(node)
	if !ok {
		return fail(f.at(node), "goes over several lines: write it on one, or edit it by hand")
	}
	text := quote(value, node.Style)
	if start > 0 && start == end && !bytes.ContainsAny(f.data[start-1:start], " \t") {
		text = " " + text
	}
	want := clone(f.top)
	place(want, f.top, node).set(value)
	return f.accept(summary, want, slices.Concat(f.data[:start], []byte(text), f.data[end:]))
}

// set makes a scalar of what may have been an alias.
func (p *placed) set(value string) {
	*p.node = yaml.Node{Kind: yaml.ScalarNode, Value: value, Tag: anyScalar, Anchor: p.node.Anchor}
}

// addPair adds key: value, where value is nested below more keys, at the end of a mapping.
func (f *file) addPair(mapping *yaml.Node, keys []string, value, summary string) error {
	if mapping.Kind != yaml.MappingNode {
		return fail(f.at(mapping), "is not a mapping of its own: edit it by hand")
	}
	if mapping.Anchor != "" && aliased(f.top, mapping) {
		return fail(f.at(mapping), "has the anchor &%s, which other places use: edit it by hand", mapping.Anchor)
	}
	want := clone(f.top)
	into := place(want, f.top, mapping).node
	into.Content = append(into.Content, nested(keys, value)...)
	if mapping.Style&yaml.FlowStyle != 0 || len(mapping.Content) == 0 {
		return f.addFlow(mapping, keys, value, accepting{want, summary})
	}
	indent := strings.Repeat(" ", mapping.Content[0].Column-1)
	text := block(keys, value, indent, f.step(mapping), f.lineEnding())
	for _, line := range f.ends(mapping) {
		if f.accept(summary, want, f.insert(line, text)) == nil {
			return nil
		}
	}
	// A text that ends the file without a line break would change by one. Above the first key
	// there is always a place, if it begins its line.
	first(into)
	if f.accept(summary, want, f.insert(mapping.Content[0].Line-1, text)) == nil {
		return nil
	}
	return fail(f.at(mapping), "has no place for %s that is sure to be right: add it by hand", strings.Join(keys, "."))
}

// addition is an entry below a key.
type addition struct {
	key   string
	keys  []string
	value string
}

// fill gives a key that has no value (or null) a mapping.
func (f *file) fill(mapping *yaml.Node, add addition, summary string) error {
	k, v := pair(mapping, add.key)
	keys, value := add.keys, add.value
	want := clone(f.top)
	*place(want, f.top, v).node = yaml.Node{Kind: yaml.MappingNode, Content: nested(keys, value)}
	start, end, ok := f.extent(v)
	if !ok {
		return fail(f.at(v), "is not a mapping: edit it by hand")
	}
	if v.Value == "" && start == end && mapping.Style&yaml.FlowStyle == 0 {
		text := block(keys, value, strings.Repeat(" ", k.Column-1)+f.step(mapping), f.step(mapping), f.lineEnding())
		return f.accept(summary, want, f.insert(k.Line, text))
	}
	flow := "{" + flowPair(keys, value) + "}"
	if start == end {
		flow = " " + flow
	}
	return f.accept(summary, want, slices.Concat(f.data[:start], []byte(flow), f.data[end:]))
}

type accepting struct {
	want    *yaml.Node
	summary string
}

// addFlow adds to {…}: after the last value where its end is known, else in front.
func (f *file) addFlow(mapping *yaml.Node, keys []string, value string, a accepting) error {
	open := f.offset(mapping)
	brace := bytes.IndexByte(f.data[open:], '{')
	if brace < 0 {
		return fail(f.at(mapping), "can't be extended: add %s by hand", strings.Join(keys, "."))
	}
	at, text := open+brace+1, flowPair(keys, value)
	if n := len(mapping.Content); n > 0 {
		if _, end, ok := f.extent(mapping.Content[n-1]); ok && mapping.Content[n-1].Kind != yaml.MappingNode && mapping.Content[n-1].Kind != yaml.SequenceNode {
			if f.accept(a.summary, a.want, slices.Concat(f.data[:end], []byte(", "+text), f.data[end:])) == nil {
				return nil
			}
		}
		text += ", "
	}
	first(place(a.want, f.top, mapping).node)
	return f.accept(a.summary, a.want, slices.Concat(f.data[:at], []byte(text), f.data[at:]))
}

// first moves the last pair of a mapping to its front.
func first(mapping *yaml.Node) {
	last := len(mapping.Content) - 2
	mapping.Content = slices.Concat(mapping.Content[last:], mapping.Content[:last])
}

func flowPair(keys []string, value string) string {
	text := quote(value, 0)
	for i, key := range slices.Backward(keys) {
		text = key + ": " + text
		if i > 0 {
			text = "{" + text + "}"
		}
	}
	return text
}

// block writes the lines of nested keys.
func block(keys []string, value, indent, step, ending string) string {
	var out strings.Builder
	for i, key := range keys {
		out.WriteString(indent + strings.Repeat(step, i) + key + ":")
		if i == len(keys)-1 {
			out.WriteString(" " + quote(value, 0))
		}
		out.WriteString(ending)
	}
	return out.String()
}

// nested are the nodes of a new entry.
func nested(keys []string, value string) []*yaml.Node {
	node := &yaml.Node{Kind: yaml.ScalarNode, Value: value, Tag: anyScalar}
	for i, key := range slices.Backward(keys) {
		k := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}
		if i == 0 {
			return []*yaml.Node{k, node}
		}
		node = &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{k, node}}
	}
	return nil
}

// step is how much deeper than a mapping its block mappings stand; two spaces otherwise.
func (f *file) step(mapping *yaml.Node) string {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		if value.Kind == yaml.MappingNode && value.Style&yaml.FlowStyle == 0 && len(value.Content) > 0 {
			if n := value.Content[0].Column - key.Column; n > 0 {
				return strings.Repeat(" ", n)
			}
		}
	}
	if top := f.top; top != mapping && top.Kind == yaml.MappingNode {
		return f.step(top)
	}
	return "  "
}

// insert puts whole lines after the first n lines of the file.
func (f *file) insert(n int, text string) []byte {
	all := lines(f.data)
	head := bytes.Join(all[:min(n, len(all))], nil)
	rest := f.data[len(head):]
	if len(head) > 0 && len(rest) == 0 && !endsLine(head) {
		text = f.lineEnding() + strings.TrimSuffix(text, f.lineEnding())
	}
	return slices.Concat(head, []byte(text), rest)
}

func endsLine(data []byte) bool {
	all := lines(data)
	last := all[len(all)-1]
	for i := range last {
		if breakAt(last[i:]) > 0 {
			return true
		}
	}
	return false
}

// maxEnds bounds how many places are tried.
const maxEnds = 50

// ends are line numbers after which a block mapping may end, the likeliest first: comments
// and blank lines after its last value are rather of what follows, unless they are part of a
// text over several lines.
func (f *file) ends(mapping *yaml.Node) []int {
	all, first := lines(f.data), lastLine(mapping)
	next := first
	for next < len(all) {
		text := strings.TrimLeft(string(all[next]), " ")
		indent := len(all[next]) - len(text)
		text = strings.TrimSpace(text)
		if text != "" && !strings.HasPrefix(text, "#") && indent < mapping.Content[0].Column-1 {
			break
		}
		next++
	}
	end := next
	for end > first {
		if text := strings.TrimSpace(string(all[end-1])); text != "" && !strings.HasPrefix(text, "#") {
			break
		}
		end--
	}
	var out []int
	for ; end < next && len(out) < maxEnds; end++ {
		out = append(out, end)
	}
	return append(out, next)
}

// lastLine is the last line on which a node below this one starts.
func lastLine(node *yaml.Node) int {
	last := node.Line
	for _, c := range node.Content {
		last = max(last, lastLine(c))
	}
	return last
}
